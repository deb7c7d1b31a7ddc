//! A run that is interrupted anywhere ends like one that was not.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::drawn::{config, dataset, run_stage, run_stages_before_keepfit, trainer};

fn spawn(place: &Path, out: &str, extra: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(place)
        .args(config("keepfit"))
        .args(["--out", out])
        .args(extra)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the run has written `lines` metric lines or ended.
fn wait_for_lines(place: &Path, out: &str, child: &mut Child, lines: usize) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let text = std::fs::read_to_string(place.join(out).join("metrics.jsonl")).unwrap_or_default();
        if text.lines().count() >= lines || child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::yield_now();
    }
}

fn weights(place: &Path, out: &str) -> Vec<Vec<u8>> {
    let last = place.join(out).join("checkpoints/step-00000008");
    vec![
        std::fs::read(place.join(out).join("model.safetensors")).unwrap(),
        std::fs::read(last.join("optimizer.safetensors")).unwrap(),
    ]
}

/// The metric lines without the two numbers that depend on the clock.
fn metrics(place: &Path, out: &str) -> Vec<String> {
    let text = std::fs::read_to_string(place.join(out).join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            value.remove("images_per_second");
            value.remove("data_wait_share");
            serde_json::Value::Object(value).to_string()
        })
        .collect()
}

#[test]
fn killed_and_stopped_runs_end_like_undisturbed_ones() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    run_stage(place, "keepfit");
    let undisturbed = (weights(place, "keepfit"), metrics(place, "keepfit"));

    // SIGKILL at several moments, then the same command; other numbers of threads besides.
    for (round, lines) in [1, 4, 7].into_iter().enumerate() {
        let out = format!("killed{round}");
        let mut child = spawn(place, &out, &["--set", "workers=1"]);
        wait_for_lines(place, &out, &mut child, lines);
        let _ = child.kill();
        child.wait().unwrap();
        trainer(place)
            .args(config("keepfit"))
            .args(["--out", &out, "--set", "workers=3"])
            .assert()
            .success();
        assert!(
            weights(place, &out) == undisturbed.0,
            "weights or moments differ after a kill at line {lines}"
        );
        assert_eq!(metrics(place, &out), undisturbed.1, "after a kill at line {lines}");
    }

    // SIGTERM saves and stops with 0; --resume goes on.
    let mut child = spawn(place, "stopped", &["--set", "save_every_steps=0"]);
    wait_for_lines(place, "stopped", &mut child, 2);
    let signalled = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success() || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
    trainer(place)
        .args(["keepfit", "--resume", "stopped"])
        .assert()
        .success();
    assert!(
        weights(place, "stopped") == undisturbed.0,
        "weights or moments differ after SIGTERM"
    );
    assert_eq!(metrics(place, "stopped"), undisturbed.1);
}

#[test]
fn mlm_and_codebook_continue_exactly_too() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    for stage in ["mlm", "codebook"] {
        let out = format!("{stage}-cut");
        trainer(place)
            .args(config(stage))
            .args(["--out", &out])
            .assert()
            .success();
        // As after a kill: the end is not recorded and the last checkpoint is half written.
        let run = place.join(&out);
        std::fs::remove_file(run.join("done.json")).unwrap();
        std::fs::remove_file(run.join("model.safetensors")).unwrap();
        std::fs::write(run.join("checkpoints/step-00000006/model.safetensors"), "half").unwrap();
        let output = trainer(place)
            .args([stage, "--resume", &out])
            .assert()
            .success()
            .get_output()
            .clone();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            log.contains("damaged") && log.contains("continuing after step 4"),
            "{log}"
        );
        for file in ["model.safetensors", "checkpoints/step-00000006/optimizer.safetensors"] {
            let whole = std::fs::read(place.join(stage).join(file)).unwrap();
            assert!(
                std::fs::read(run.join(file)).unwrap() == whole,
                "{stage}/{file} differs"
            );
        }
    }
}
