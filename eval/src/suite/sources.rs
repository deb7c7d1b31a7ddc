//! The images of a data set: rows of a dataset folder, or files in a folder per class.
//!
//! Listing needs names and hashes only; image bytes are read when a feature is missing from the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use dataset::read::{Columns, Dataset};
use serde::{Deserialize, Serialize};

use super::config::{ClassConfig, DatasetConfig, Several, plain_name};
use crate::truth::AND;

/// One labelled image of a data set.
#[derive(Debug, Clone)]
pub struct SetImage {
    /// Name in predictions: its path in the set.
    pub name: String,
    /// Class indices in the order of the suite, rising: one, or several where the set says that images may have them.
    pub classes: Vec<usize>,
    /// Hash of its bytes.
    pub sha256: String,
    /// Whether it belongs to the split that is scored.
    pub in_split: bool,
}

/// An image that could not be used.
#[derive(Debug, Clone, Serialize)]
pub struct Rejected {
    /// Its name.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// All images of a set that belong to a class of the suite.
#[derive(Debug, Clone, Default)]
pub struct ImageSet {
    /// Images, in protocol order.
    pub images: Vec<SetImage>,
    /// Images whose category no class of the suite names, by category.
    pub left_out: BTreeMap<String, u64>,
    /// Images that belong to several classes, or cannot be read.
    pub rejected: Vec<Rejected>,
}

/// File extensions that count as images in a folder per class.
const IMAGE_EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp", "gif", "ppm"];

/// Hashes of files by (set, path): size and time of change decide whether a file is read again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct HashIndex(BTreeMap<String, FileStamp>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileStamp {
    bytes: u64,
    changed_ns: u64,
    sha256: String,
}

impl HashIndex {
    /// Hash of a file, from the index when size and time of change are as they were. Counts files read.
    pub(super) fn hash(&mut self, key: String, file: &Path, files_read: &mut u64) -> std::io::Result<String> {
        let meta = std::fs::metadata(file)?;
        let changed = meta
            .modified()?
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        if let Some(known) = self
            .0
            .get(&key)
            .filter(|k| k.bytes == meta.len() && k.changed_ns == changed)
        {
            return Ok(known.sha256.clone());
        }
        *files_read += 1;
        let sha256 = dataset::hash::sha256_hex(&std::fs::read(file)?);
        self.0.insert(
            key,
            FileStamp {
                bytes: meta.len(),
                changed_ns: changed,
                sha256: sha256.clone(),
            },
        );
        Ok(sha256)
    }
}

/// Lists the images of a set. `files_read` counts image files that had to be opened for their hash.
pub fn list(config: &DatasetConfig, index: &mut HashIndex, files_read: &mut u64) -> anyhow::Result<ImageSet> {
    let set = match (&config.folder, &config.tree) {
        (Some(folder), _) => list_folder(config, folder)?,
        (_, Some(tree)) => list_tree(config, tree, index, files_read)?,
        _ => anyhow::bail!(
            "dataset '{}' has neither folder nor tree; only models with feature files can be scored on it",
            config.name
        ),
    };
    for (class, with) in config.classes.iter().enumerate() {
        if !set.images.iter().any(|i| i.classes.contains(&class) && i.in_split) {
            let split = config
                .split
                .as_ref()
                .map(|s| format!(" in split '{s}'"))
                .unwrap_or_default();
            anyhow::bail!(
                "dataset '{}': class '{}' has no image{split} (looked for {:?}; other categories there: {:?})",
                config.name,
                with.name,
                with.match_names(),
                set.left_out.keys().collect::<Vec<_>>()
            );
        }
    }
    Ok(set)
}

fn absent(config: &DatasetConfig, place: &Path) -> anyhow::Error {
    let hint = config.download.as_ref().map(|d| format!("; {d}")).unwrap_or_default();
    anyhow::anyhow!("dataset '{}': folder {} is absent{hint}", config.name, place.display())
}

/// Classes of an image with these categories, rising: none when no class names one of them, several only where the set
/// wants them all; an error text when several classes name one and the set leaves such images out.
fn classes_of(config: &DatasetConfig, categories: &[String]) -> Result<Vec<usize>, String> {
    let class_named = |category: &str| -> Vec<usize> {
        let category = plain_name(category);
        let named = |c: &ClassConfig| c.match_names().iter().any(|m| plain_name(m) == category);
        (0..config.classes.len())
            .filter(|&c| named(&config.classes[c]))
            .collect()
    };
    // a category that is no class may name several, as "uveitis,retinal vein occlusion" in the list of AngioReport
    let named = |category: &String| match class_named(category) {
        none if none.is_empty() && config.several != Several::LeaveOut => {
            let parts = category.split(',').flat_map(|part| part.split(AND));
            parts.flat_map(class_named).collect()
        }
        found => found,
    };
    let mut found: Vec<usize> = categories.iter().flat_map(named).collect();
    let first = found.first().copied();
    found.sort_unstable();
    found.dedup();
    if found.len() > 1 && config.several == Several::LeaveOut {
        return Err(format!(
            "categories {categories:?} belong to {} classes of the suite; several = \"multi-label\" counts such an image \
             for all of them, several = \"first\" for the first",
            found.len()
        ));
    }
    Ok(match config.several {
        Several::MultiLabel => found,
        Several::First | Several::LeaveOut => first.into_iter().collect(),
    })
}

fn list_folder(config: &DatasetConfig, folder: &Path) -> anyhow::Result<ImageSet> {
    if !folder.is_dir() {
        return Err(absent(config, folder));
    }
    let dataset = Dataset::open(folder)?;
    let name = config.set.as_deref().unwrap_or_default();
    let sets = dataset.label_sets();
    if !sets.iter().any(|s| s == name) {
        anyhow::bail!(
            "dataset '{}': {} has no label set '{name}' (sets there: {sets:?})",
            config.name,
            folder.display()
        );
    }
    let mut set = ImageSet::default();
    let mut splits = BTreeSet::new();
    for record in dataset.labels(Some(name), Columns::WithoutImageBytes)? {
        let record = record?;
        match classes_of(config, &record.categories) {
            Ok(classes) if !classes.is_empty() => {
                let in_split = config.split.as_ref().is_none_or(|s| *s == record.split);
                set.images.push(SetImage {
                    name: record.image.path,
                    classes,
                    sha256: record.image_sha256,
                    in_split,
                });
            }
            Ok(_) => *set.left_out.entry(record.categories.join(AND)).or_default() += 1,
            Err(reason) => set.rejected.push(Rejected {
                image: record.image.path,
                reason,
            }),
        }
        splits.insert(record.split);
    }
    if let Some(split) = config.split.as_ref().filter(|s| !splits.contains(*s)) {
        anyhow::bail!(
            "dataset '{}': label set '{name}' has no split '{split}' (splits there: {splits:?})",
            config.name
        );
    }
    Ok(set)
}

fn list_tree(
    config: &DatasetConfig,
    tree: &Path,
    index: &mut HashIndex,
    files_read: &mut u64,
) -> anyhow::Result<ImageSet> {
    if !tree.is_dir() {
        return Err(absent(config, tree));
    }
    let mut set = ImageSet::default();
    let mut found: Vec<(Vec<usize>, PathBuf, String)> = Vec::new(); // classes, file, name
    for folder in dataset::fs::list_sorted(tree)?.into_iter().filter(|p| p.is_dir()) {
        let category = folder
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let files = image_files(&folder)?;
        match classes_of(config, std::slice::from_ref(&category)) {
            Ok(classes) if !classes.is_empty() => found.extend(files.into_iter().map(|f| {
                let name = f.strip_prefix(tree).unwrap_or(&f).to_string_lossy().replace('\\', "/");
                (classes.clone(), f, name)
            })),
            Ok(_) => *set.left_out.entry(category).or_default() += files.len() as u64,
            Err(reason) => set.rejected.push(Rejected {
                image: category,
                reason,
            }),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| dataset::fs::natural_cmp(&a.2, &b.2)));
    for (classes, file, name) in found {
        match index.hash(format!("{}/{name}", config.name), &file, files_read) {
            Ok(sha256) => set.images.push(SetImage {
                name,
                classes,
                sha256,
                in_split: true,
            }),
            Err(error) => set.rejected.push(Rejected {
                image: name,
                reason: format!("cannot be read: {error}"),
            }),
        }
    }
    join_copies(config, &mut set);
    Ok(set)
}

/// Joins files of the same bytes in folders of different classes: one image of several classes, which counts for all of
/// them, for the first, or is rejected. Copies within a class stay as they are.
fn join_copies(config: &DatasetConfig, set: &mut ImageSet) {
    let mut seen: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, image) in set.images.iter().enumerate() {
        seen.entry(&image.sha256).or_default().push(place);
    }
    let differ = |places: &&Vec<usize>| {
        places
            .iter()
            .any(|&p| set.images[p].classes != set.images[places[0]].classes)
    };
    let split: Vec<Vec<usize>> = seen.values().filter(differ).cloned().collect();
    let mut gone = BTreeSet::new();
    for places in split {
        let names: Vec<&str> = places.iter().map(|&p| set.images[p].name.as_str()).collect();
        let names = names.join(", ");
        match config.several {
            Several::LeaveOut => {
                set.rejected.push(Rejected {
                    image: names,
                    reason:
                        "the same bytes lie in folders of different classes; several = \"multi-label\" counts such an \
                             image for all of them, several = \"first\" for the first"
                            .into(),
                });
                gone.extend(places);
            }
            Several::First => gone.extend(places.into_iter().skip(1)),
            Several::MultiLabel => {
                let all: BTreeSet<usize> = places.iter().flat_map(|&p| set.images[p].classes.clone()).collect();
                set.images[places[0]].classes = all.into_iter().collect();
                gone.extend(places.into_iter().skip(1));
            }
        }
    }
    let mut place = 0;
    set.images.retain(|_| {
        place += 1;
        !gone.contains(&(place - 1))
    });
}

fn image_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let path = entry?.into_path();
        let extension = path
            .extension()
            .map(|e| e.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        if path.is_file() && IMAGE_EXTENSIONS.contains(&extension.as_str()) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Hands the bytes of the images named by `wanted` (hashes) to `each`, one after the other, each hash once.
pub fn read_images(
    config: &DatasetConfig,
    set: &ImageSet,
    wanted: &BTreeSet<String>,
    mut each: impl FnMut(&SetImage, Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut open: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    if let Some(folder) = &config.folder {
        let by_hash: BTreeMap<&str, &SetImage> = set.images.iter().map(|i| (i.sha256.as_str(), i)).collect();
        for record in Dataset::open(folder)?.labels(config.set.as_deref(), Columns::All)? {
            let record = record?;
            if open.remove(record.image_sha256.as_str())
                && let Some(image) = by_hash.get(record.image_sha256.as_str())
            {
                each(image, record.image.bytes)?;
            }
        }
        return Ok(());
    }
    let Some(tree) = &config.tree else { return Ok(()) };
    for image in &set.images {
        if open.remove(image.sha256.as_str()) {
            each(image, std::fs::read(tree.join(&image.name))?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_image_of_several_classes_is_left_out_or_counts_for_its_first() {
        let config = |several: &str| -> DatasetConfig {
            toml::from_str(&format!(
                "name = \"A\"\nmodality = \"FFA\"\ntree = \"a\"\n{several}\n\
                 [[class]]\nname = \"uveitis\"\n[[class]]\nname = \"vein occlusion\"\nmatch = [\"RVO\", \"BRVO\"]\n"
            ))
            .unwrap()
        };
        let categories = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let (strict, first) = (config(""), config("several = \"first\""));
        let all = config("several = \"multi-label\"");
        for (names, left_out, counted) in [
            (&["Uveitis"][..], vec![0], vec![0]),
            (&["scar", "brvo"], vec![1], vec![1]),
            (&["RVO", "BRVO"], vec![1], vec![1]),
            (&["scar"], vec![], vec![]),
        ] {
            assert_eq!(classes_of(&strict, &categories(names)), Ok(left_out), "{names:?}");
            assert_eq!(classes_of(&first, &categories(names)), Ok(counted.clone()), "{names:?}");
            assert_eq!(classes_of(&all, &categories(names)), Ok(counted), "{names:?}");
        }
        let both = categories(&["scar", "BRVO", "uveitis"]);
        assert!(classes_of(&strict, &both).unwrap_err().contains("2 classes"));
        assert_eq!(classes_of(&first, &both), Ok(vec![1]));
        assert_eq!(classes_of(&all, &both), Ok(vec![0, 1]));
        // one category that joins two classes
        let joined = categories(&["brvo, Uveitis"]);
        assert_eq!(classes_of(&strict, &joined), Ok(vec![]));
        assert_eq!(classes_of(&first, &joined), Ok(vec![1]));
        assert_eq!(classes_of(&all, &joined), Ok(vec![0, 1]));
    }

    #[test]
    fn copies_in_folders_of_different_classes_are_one_image() {
        let folder = tempfile::tempdir().unwrap();
        for (place, bytes) in [
            ("uveitis/a.png", "1"),
            ("uveitis/b.png", "2"),
            ("uveitis/b again.png", "2"),
            ("occlusion/c.png", "1"),
            ("occlusion/d.png", "3"),
            ("occlusion,uveitis/e.png", "4"),
        ] {
            let file = folder.path().join(place);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, bytes).unwrap();
        }
        let told = |several: &str| {
            let config: DatasetConfig = toml::from_str(&format!(
                "name = \"A\"\nmodality = \"FFA\"\ntree = {:?}\nseveral = \"{several}\"\n\
                 [[class]]\nname = \"uveitis\"\n[[class]]\nname = \"occlusion\"\n",
                folder.path()
            ))
            .unwrap();
            let set = list(&config, &mut HashIndex::default(), &mut 0).unwrap();
            let images: Vec<(String, Vec<usize>)> = set.images.into_iter().map(|i| (i.name, i.classes)).collect();
            let rejected: Vec<String> = set.rejected.into_iter().map(|r| r.image).collect();
            (images, rejected, set.left_out.len())
        };
        let image = |name: &str, classes: &[usize]| (name.to_string(), classes.to_vec());
        let twice = [image("uveitis/b again.png", &[0]), image("uveitis/b.png", &[0])];
        let (images, rejected, left_out) = told("leave-out");
        assert_eq!(images, [&twice[..], &[image("occlusion/d.png", &[1])]].concat());
        assert_eq!(
            (rejected, left_out),
            (vec!["uveitis/a.png, occlusion/c.png".to_string()], 1)
        );
        let (images, rejected, left_out) = told("multi-label");
        let expected = [
            &[image("uveitis/a.png", &[0, 1])],
            &twice[..],
            &[
                image("occlusion,uveitis/e.png", &[0, 1]),
                image("occlusion/d.png", &[1]),
            ],
        ];
        assert_eq!((images, rejected, left_out), (expected.concat(), vec![], 0));
        let (images, ..) = told("first");
        assert_eq!(images[0], image("uveitis/a.png", &[0]));
        assert!(images.contains(&image("occlusion,uveitis/e.png", &[1])) && images.len() == 5);
    }
}
