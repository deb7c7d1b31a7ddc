#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::drawn_pair;
use crate::write::SourceUpdate;

mod hostile;

#[test]
fn rows_come_by_id_in_the_order_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    for number in 0..330 {
        update.push_pair(drawn_pair("book", number)).unwrap();
    }
    update.commit().unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    let wanted: Vec<PairRecord> = [300, 7, 150, 151].into_iter().map(|n| drawn_pair("book", n)).collect();
    let mut ids: Vec<&str> = wanted.iter().map(|row| row.id.as_str()).collect();
    ids.insert(1, "pair-unknown");
    assert_eq!(dataset.pairs_by_id(&ids).unwrap(), wanted);
    assert!(dataset.labels_by_id(&ids).unwrap().is_empty());
    let reader = dataset.pair_reader(Columns::All).unwrap();
    // The bloom filters leave few row groups to look into.
    assert!(reader.files[0].groups_that_may_hold(ids[0]).unwrap().len() <= 2);
    let every: Vec<PairRecord> = dataset.pairs(Columns::All).unwrap().map(Result::unwrap).collect();
    assert_eq!(reader.len(), 330);
    for place in [0, 99, 100, 215, 329] {
        assert_eq!(reader.at(place).unwrap(), every[place as usize]);
    }
    assert!(reader.at(330).unwrap_err().to_string().contains("330 rows"));
    let plain = dataset
        .pair_reader(Columns::WithoutImageBytes)
        .unwrap()
        .at(215)
        .unwrap();
    assert!(plain.image.bytes.is_empty() && plain.id == every[215].id);
    // Asked often, the reader makes its index.
    for wanted in 0..330 {
        let row = drawn_pair("book", wanted);
        assert_eq!(reader.by_id(&row.id).unwrap(), Some(row));
    }
    assert!(reader.index.get().is_some());
    assert_eq!(reader.by_id("pair-unknown").unwrap(), None);
    assert!(matches!(*reader.group(0, 1).unwrap(), Group::Pages(_)));
    let some = Columns::Only(&["id", "modality", "image", "caption_en"]);
    let row = dataset.pair_reader(some).unwrap().by_id(ids[0]).unwrap().unwrap();
    assert_eq!((&row.image, &row.caption_en), (&wanted[0].image, &wanted[0].caption_en));
    assert_eq!(row.source_id, "");
}

/// Pairs with and without values in all places.
fn uneven(count: u32) -> Vec<PairRecord> {
    let uneven = |number: u32| {
        let mut row = drawn_pair("book", number);
        row.caption_en =
            (!number.is_multiple_of(3)).then(|| format!("caption {}", "x".repeat(number as usize * 7 % 900)));
        row.caption_zh = (number.is_multiple_of(7)).then(|| "黄斑".repeat(number as usize % 50));
        row.panel_bbox = row.panel_bbox.filter(|_| !number.is_multiple_of(5));
        row.ocr_confidence = (!number.is_multiple_of(4)).then_some(0.25);
        row.quality_flags = (0..number % 4).map(|flag| format!("flag {}", flag * number)).collect();
        row.licence = None;
        row
    };
    (0..count).map(uneven).collect()
}

fn compare_all(folder: &std::path::Path, expected: fn(&Group) -> bool) {
    let dataset = Dataset::open(folder).unwrap();
    let some = Columns::Only(&["id", "modality", "image", "quality_flags"]);
    for columns in [Columns::All, Columns::WithoutImageBytes, some] {
        let rows: Vec<PairRecord> = dataset.pairs(columns).unwrap().map(Result::unwrap).collect();
        let reader = dataset.pair_reader(columns).unwrap();
        assert_eq!(reader.len(), rows.len() as u64);
        // Twice: the second time the place of the picture is known.
        for _ in 0..2 {
            for (place, row) in rows.iter().enumerate() {
                assert_eq!(&reader.at(place as u64).unwrap(), row);
            }
        }
        for row in &rows {
            assert_eq!(reader.by_id(&row.id).unwrap().as_ref(), Some(row));
        }
        assert!(expected(&reader.group(0, 0).unwrap()));
    }
}

#[test]
fn every_row_is_what_a_scan_gives() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    for row in uneven(250) {
        update.push_pair(row).unwrap();
    }
    update.commit().unwrap();
    compare_all(folder.path(), |group| matches!(group, Group::Pages(_)));
}

#[test]
fn files_of_other_makers_are_read_alike() {
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, Encoding};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    let mut rows = uneven(230);
    for (number, row) in rows.iter_mut().enumerate() {
        // Neighbours in a page of all sizes: where one ends cannot be guessed.
        let length = [3000, 0, 40, 9000, 1][number % 5];
        row.image.bytes = vec![number as u8; length + number];
    }
    let batch = PairRecord::to_batch(&rows).unwrap();
    let plain = WriterProperties::builder().set_dictionary_enabled(false);
    let newer = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::SNAPPY)
        .set_column_encoding("id".into(), Encoding::DELTA_BYTE_ARRAY)
        .set_column_dictionary_enabled("id".into(), false);
    let small = WriterProperties::builder()
        .set_data_page_row_count_limit(7)
        .set_write_batch_size(7);
    type Expected = fn(&Group) -> bool;
    let cases: [(WriterProperties, Expected); 3] = [
        (plain.build(), |group| matches!(group, Group::Pages(_))),
        (newer.build(), |group| matches!(group, Group::Batches(_))),
        (small.build(), |group| matches!(group, Group::Pages(_))),
    ];
    for (properties, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let file = std::fs::File::create(folder.path().join("data/train-00000-of-00001.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        compare_all(folder.path(), expected);
    }
}

#[test]
fn a_huge_row_group_is_not_held() {
    use parquet::arrow::ArrowWriter;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let file = std::fs::File::create(folder.path().join("data/train-00000-of-00001.parquet")).unwrap();
    let mut rows = uneven(120);
    for row in &mut rows {
        row.caption_figure = Some(row.id.repeat(7000));
    }
    let batch = PairRecord::to_batch(&rows).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    let reader = dataset.pair_reader(Columns::All).unwrap();
    assert_eq!(reader.at(77).unwrap(), rows[77]);
    assert!(matches!(*reader.group(0, 0).unwrap(), Group::Large));
    assert_eq!(reader.by_id(&rows[5].id).unwrap().as_ref(), Some(&rows[5]));
}

#[test]
fn pages_that_grow_beyond_measure_are_left_to_the_parquet_crate() {
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let file = std::fs::File::create(folder.path().join("data/train-00000-of-00001.parquet")).unwrap();
    // 66 MiB of captions in a few kilobytes.
    let mut rows = uneven(66);
    for (number, row) in rows.iter_mut().enumerate() {
        row.caption_en = Some(char::from(b'!' + number as u8).to_string().repeat(1 << 20));
    }
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    let batch = PairRecord::to_batch(&rows).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let reader = Dataset::open(folder.path()).unwrap().pair_reader(Columns::All).unwrap();
    assert_eq!(reader.at(65).unwrap(), rows[65]);
    assert!(matches!(*reader.group(0, 0).unwrap(), Group::Batches(_)));
}
