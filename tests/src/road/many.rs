//! How much memory `ingest book` takes for a hundred pages, and for many.
//!
//! Twice: with the screenshots of the benchmark under ever new names, and with
//! screenshots of half the size that differ in every file, so that none is known
//! from before and each is read and becomes rows of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::step::{Step, StepResult, run_step};

/// Pages of the run that the others are held against.
const FEW: usize = 100;
/// One pixel in so many is changed, others in each page; at most so many pages of one screenshot differ.
const SPRINKLE: usize = 10_007;

/// What one run took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Taken {
    /// Pages in the folder.
    pub pages: usize,
    /// Highest resident memory, MiB.
    pub peak_mib: f64,
    /// Wall time, seconds.
    pub seconds: f64,
    /// Rows in the dataset afterwards.
    pub pairs: u64,
}

/// Memory for a hundred pages and for many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManyPages {
    /// The same screenshots under other names, a hundred and many.
    pub same: Option<[Taken; 2]>,
    /// Half-size screenshots, no two files alike, a hundred and many.
    pub changed: Option<[Taken; 2]>,
}

/// Where the figures are kept below the folder of the run.
pub fn file(out: &Path) -> PathBuf {
    out.join("bench/many.json")
}

/// Measures `same` and `changed` pages (0: not measured) and keeps the figures.
///
/// # Errors
/// The screenshots are not there, a page cannot be written, or `ingest book` fails.
pub fn run(shared: &Path, out: &Path, same: usize, changed: usize) -> Result<()> {
    let screens = shared.join("bench/screens/images");
    let pages = dataset::fs::list_sorted(&screens).with_context(|| format!("cannot list {}", screens.display()))?;
    if pages.is_empty() {
        bail!(
            "{}: no screenshots; remedy: name the folder that holds bench/ with --shared",
            screens.display()
        );
    }
    let work = out.join("bench/many");
    let measured = ManyPages {
        same: pair(same, |count| {
            measure(&work, "same", count, |to| copy_under_names(&pages, to, count))
        })?,
        changed: pair(changed, |count| {
            measure(&work, "changed", count, |to| write_changed(&pages, to, count))
        })?,
    };
    dataset::fs::write_atomic(&file(out), &serde_json::to_vec_pretty(&measured)?)?;
    Ok(())
}

fn pair(many: usize, measure: impl Fn(usize) -> Result<Taken>) -> Result<Option<[Taken; 2]>> {
    if many == 0 {
        return Ok(None);
    }
    Ok(Some([measure(FEW)?, measure(many)?]))
}

fn measure(work: &Path, kind: &str, count: usize, make: impl Fn(&Path) -> Result<()>) -> Result<Taken> {
    let name = format!("{kind}-{count}");
    let (input, dataset) = (work.join(&name), work.join(format!("{name}-dataset")));
    for folder in [&input, &dataset] {
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
    }
    std::fs::create_dir_all(&input).with_context(|| format!("cannot create {}", input.display()))?;
    make(&input)?;
    let (from, to) = (input.display().to_string(), dataset.display().to_string());
    let step = Step::new(
        &name,
        "ingest",
        &["book", "--input", &from, "--source-id", "many", "--out", &to],
    );
    eprintln!("{}", step.command_line());
    let StepResult {
        peak_mib,
        seconds,
        summary,
        ..
    } = run_step(&step, &work.join("logs"))?;
    let pairs = summary.as_ref().and_then(|s| s["pairs"].as_u64()).unwrap_or(0);
    eprintln!("        {seconds:.1} s, {peak_mib:.0} MiB, {pairs} pairs");
    for folder in [&input, &dataset] {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    Ok(Taken {
        pages: count,
        peak_mib,
        seconds,
        pairs,
    })
}

/// The pages in turn, under numbered names; linked where the disk can, else copied.
fn copy_under_names(pages: &[PathBuf], to: &Path, count: usize) -> Result<()> {
    for (number, page) in pages.iter().cycle().take(count).enumerate() {
        let target = to.join(format!("{number:06}.{}", extension(page)));
        std::fs::hard_link(page, &target)
            .or_else(|_| std::fs::copy(page, &target).map(|_| ()))
            .with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
}

/// Half-size pages with a sprinkle of pixels changed by one level: pages and pictures alike only to the eye.
fn write_changed(pages: &[PathBuf], to: &Path, count: usize) -> Result<()> {
    for (at, page) in pages.iter().enumerate() {
        let full = image::open(page)
            .with_context(|| format!("cannot read {}", page.display()))?
            .to_rgb8();
        let (width, height) = ((full.width() / 2).max(32), (full.height() / 2).max(32));
        let half = image::imageops::resize(&full, width, height, image::imageops::FilterType::Triangle);
        for number in (at..count).step_by(pages.len()) {
            let mut own = half.clone();
            let own_pixels = (number % SPRINKLE..(width * height) as usize).step_by(SPRINKLE);
            for pixel in own_pixels {
                let at = 3 * pixel;
                own.as_mut()[at] ^= 1;
            }
            let target = to.join(format!("{number:06}.png"));
            own.save(&target)
                .with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}

fn extension(path: &Path) -> String {
    path.extension()
        .map_or_else(String::new, |e| e.to_string_lossy().into_owned())
}

/// Lines for the results page; empty where nothing was measured.
///
/// # Errors
/// The file of figures is there and cannot be read.
pub fn lines(out: &Path) -> Result<String> {
    let path = file(out);
    if !path.exists() {
        return Ok(String::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let measured: ManyPages =
        serde_json::from_str(&text).with_context(|| format!("{} holds no figures", path.display()))?;
    let line = |what: &str, runs: &Option<[Taken; 2]>| {
        runs.as_ref().map_or_else(String::new, |[few, many]| {
            format!(
                "\nPeak memory of `ingest book`, one job, {what}: {} pages {:.0} MiB ({} pairs), {} pages {:.0} MiB ({} pairs): {:.2} × (target 1.5).\n",
                few.pages,
                few.peak_mib,
                few.pairs,
                many.pages,
                many.peak_mib,
                many.pairs,
                many.peak_mib / few.peak_mib
            )
        })
    };
    Ok(line("the same pages under other names", &measured.same)
        + &line("half-size pages, every file different", &measured.changed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn changed_pages_are_all_different_and_the_others_all_alike() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.png");
        image::RgbImage::from_pixel(900, 800, image::Rgb([240, 240, 240]))
            .save(&page)
            .unwrap();
        let files = |folder: &str| -> Vec<Vec<u8>> {
            let paths = dataset::fs::list_sorted(&dir.path().join(folder)).unwrap();
            paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
        };
        for folder in ["same", "changed"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        copy_under_names(std::slice::from_ref(&page), &dir.path().join("same"), 7).unwrap();
        write_changed(&[page], &dir.path().join("changed"), 7).unwrap();
        let (mut same, mut changed) = (files("same"), files("changed"));
        same.dedup();
        changed.sort();
        changed.dedup();
        assert_eq!((same.len(), changed.len()), (1, 7));
    }

    #[test]
    fn the_page_tells_the_ratio() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(lines(out.path()).unwrap(), "");
        let taken = |pages, peak_mib| Taken {
            pages,
            peak_mib,
            seconds: 1.0,
            pairs: 3,
        };
        let measured = ManyPages {
            same: Some([taken(100, 100.0), taken(10_000, 120.0)]),
            changed: None,
        };
        std::fs::create_dir(out.path().join("bench")).unwrap();
        std::fs::write(file(out.path()), serde_json::to_vec(&measured).unwrap()).unwrap();
        let text = lines(out.path()).unwrap();
        assert!(text.contains("10000 pages 120 MiB (3 pairs): 1.20 ×"), "{text}");
    }
}
