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
    weights_at(place, out, 8)
}

fn weights_at(place: &Path, out: &str, step: u64) -> Vec<Vec<u8>> {
    let last = place.join(out).join(format!("checkpoints/step-{step:08}"));
    vec![
        std::fs::read(place.join(out).join("model.safetensors")).unwrap(),
        std::fs::read(last.join("optimizer.safetensors")).unwrap(),
    ]
}

/// The metric lines without the numbers that depend on the clock.
fn metrics(place: &Path, out: &str) -> Vec<String> {
    let text = std::fs::read_to_string(place.join(out).join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            value.remove("images_per_second");
            value.remove("tokens_per_second");
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

/// Everything that could keep state beside weights and moments: chunks, frozen parts, rates by layer, a ramp,
/// the best checkpoint.
const EVERYTHING_ON: [&str; 20] = [
    "--set",
    "accumulate=2",
    "--set",
    "freeze=[\"text_model.model.embeddings.\"]",
    "--set",
    "layer_decay=0.8",
    "--set",
    "rate_vision=0.5",
    "--set",
    "appearance_ramp_epochs=2.0",
    "--set",
    "skip_nonfinite=2",
    "--set",
    "best=max:zero_shot_accuracy",
    "--set",
    "save_every_steps=1",
    "--set",
    "eval_every=5",
    "--set",
    "steps=30",
];

#[test]
fn a_run_killed_twenty_times_ends_like_an_undisturbed_one() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    let whole = trainer(place)
        .args(config("keepfit"))
        .args(["--out", "whole"])
        .args(EVERYTHING_ON)
        .assert()
        .success()
        .get_output()
        .clone();
    let summary: serde_json::Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(summary["best"]["metric"], "zero_shot_accuracy", "{summary}");

    let mut random = 20_261_123u64;
    let mut kills = 0;
    for _ in 0..20 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let text = std::fs::read_to_string(place.join("cut/metrics.jsonl")).unwrap_or_default();
        let mut child = spawn(place, "cut", &EVERYTHING_ON);
        wait_for_lines(
            place,
            "cut",
            &mut child,
            text.lines().count() + (random >> 33) as usize % 3,
        );
        std::thread::sleep(Duration::from_millis((random >> 40) % 40));
        kills += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(kills >= 10, "only {kills} of 20 came before the end");
    trainer(place)
        .args(config("keepfit"))
        .args(["--out", "cut"])
        .args(EVERYTHING_ON)
        .assert()
        .success();
    assert!(
        weights_at(place, "cut", 30) == weights_at(place, "whole", 30),
        "weights or moments differ after {kills} kills"
    );
    assert_eq!(metrics(place, "cut"), metrics(place, "whole"));
    for file in ["best/model.safetensors", "best/state.json", "done.json"] {
        assert!(
            std::fs::read(place.join("cut").join(file)).unwrap()
                == std::fs::read(place.join("whole").join(file)).unwrap(),
            "{file} differs after {kills} kills"
        );
    }
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
