//! Several devices share a run without changing it.

use std::path::Path;

use crate::drawn::{config, dataset, run_stages_before_keepfit, trainer};

fn run(place: &Path, stage: &str, out: &str, extra: &[&str]) {
    trainer(place)
        .args(config(stage))
        .args(["--out", out, "--set", "accumulate=4", "--set", "batch=8"])
        .args(extra)
        .assert()
        .success();
}

/// Weights and moments at the end.
fn state(place: &Path, out: &str, step: u64) -> [Vec<u8>; 2] {
    let last = format!("{out}/checkpoints/step-{step:08}/optimizer.safetensors");
    [format!("{out}/model.safetensors"), last].map(|file| std::fs::read(place.join(file)).unwrap())
}

#[test]
fn several_devices_recomputation_and_a_continued_run_change_no_byte() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    for (stage, steps, first) in [("keepfit", 8, 3), ("mlm", 6, 2)] {
        let [one, two, cut] = ["one", "two", "cut"].map(|name| format!("{stage}-{name}"));
        run(place, stage, &one, &[]);
        run(place, stage, &two, &["--device", "cpu:0,cpu:1"]);
        let whole = state(place, &one, steps);
        assert!(
            whole == state(place, &two, steps),
            "{stage}: two devices differ from one"
        );

        // As after a kill behind the first checkpoint, and continued on other devices, with less memory.
        run(place, stage, &cut, &["--set", "keep_last=9", "--device", "cpu:0,cpu:1"]);
        let checkpoints = place.join(&cut).join("checkpoints");
        for entry in std::fs::read_dir(&checkpoints).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with(format!("step-{first:08}")) {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
        std::fs::remove_file(place.join(&cut).join("done.json")).unwrap();
        run(
            place,
            stage,
            &cut,
            &["--device", "cpu:0,cpu:1,cpu:2", "--set", "checkpointing=true"],
        );
        assert!(
            whole == state(place, &cut, steps),
            "{stage}: continued on three devices"
        );
    }
}
