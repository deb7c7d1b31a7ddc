//! Styles, heads and reading errors that the first tables lack, on invented captions.

use super::{SplitOptions, joined, panels, split_caption};

/// Each as `number :: preface :: panels`.
fn check(table: &[(&str, &str)]) {
    super::check(table, |split| {
        let number = split.figure_no.as_deref().unwrap_or_default();
        joined(&[number, &split.preface, &panels(split)])
    });
}

#[test]
fn heads_of_every_form() {
    check(&[
        ("【图2.3】裂孔。A、彩照；B、造影", "2.3 :: 裂孔 :: A=彩照|B=造影"),
        ("（图2-3）裂孔。a）彩照。b）造影", "2-3 :: 裂孔 :: A=彩照|B=造影"),
        ("(Figure 2-3) Hole. A) Color. B) OCT.", "2-3 :: Hole :: A=Color|B=OCT"),
        (
            "图5-9．1型糖尿病。A：彩照；B：造影",
            "5-9 :: 1型糖尿病 :: A=彩照|B=造影",
        ),
        ("图12．1型糖尿病。A：彩照；B：造影", "12 :: 1型糖尿病 :: A=彩照|B=造影"),
        ("图18-9-8|裂孔。A：彩照；B：造影", "18-9-8 :: 裂孔 :: A=彩照|B=造影"),
        ("图版Ⅲ　A．彩照；B．造影", "III :: A=彩照|B=造影"),
        ("图14.2．1：彩照；2：造影", "14.2 :: 1=彩照|2=造影"),
        (
            "图18-7-4|1型糖尿病。A：彩照；B：造影",
            "18-7-4 :: 1型糖尿病 :: A=彩照|B=造影",
        ),
        ("FIGURE 2—13—I. Color. II. OCT.", "2-13 :: I=Color|II=OCT"),
        ("Color Plate 4-2. A. Color. B. OCT.", "4-2 :: A=Color|B=OCT"),
        ("Fig. No. 7: A. Color. B. OCT.", "7 :: A=Color|B=OCT"),
        ("Figure 4-2—A: color; B: OCT", "4-2 :: A=color|B=OCT"),
        ("图2-3Leber病。A．彩照；B．造影", "2-3 :: Leber病 :: A=彩照|B=造影"),
        ("Fig 7-2A1, color; A2, OCT", "7-2 :: A1=color|A2=OCT"),
        // Read wrongly: a five, a nought before a letter, a stop.
        ("图10.3.S 裂孔", "10.3.5 :: =裂孔"),
        (
            "图9-10A　彩照。\n图9-1OB　造影。\n图9-10C　OCT",
            "9-10 :: A=彩照|B=造影|C=OCT",
        ),
        (
            "彩图5.1.3A．彩照。\n彩图5.1.3B，造影。\n彩阁5.1,3C。OCT",
            "5.1.3 :: A=彩照|B=造影|C=OCT",
        ),
        ("Plate 6-1u: Color. Plate 6-1b: OCT.", "6-1 :: A=Color|B=OCT"),
        ("Figure 2-7A and R: Fundus", "2-7 :: A,B=Fundus"),
    ]);
}

#[test]
fn a_number_said_of_another_panel_begins_none() {
    check(&[
        (
            "Fig. 4-1 (a) Color image. (b) Figure 4-1A, late phase.",
            "4-1 :: A=Color image|B=Figure 4-1A, late phase",
        ),
        (
            "Plate 5-3a: Color image.\nPlate 5-3b: Figure 5-3A Other eye.",
            "5-3 :: A=Color image|B=Figure 5-3A Other eye",
        ),
    ]);
}

#[test]
fn second_languages_behind_any_head() {
    for english in [
        "Supplementary Figure 2-3. Hole. A, Color of the eye. B, Scan of the eye.",
        "(Figure 2.3) Hole. A, Color of the eye. B, Scan of the eye.",
        "eFigure 2-3. Hole. A, Color of the eye. B, Scan of the eye.",
    ] {
        let raw = format!("图2-3　裂孔。A．彩照；B．OCT示裂孔。 {english}");
        let split = split_caption(&raw, &SplitOptions::default());
        assert_eq!(split.panels.len(), 2, "{raw}: {split:?}");
        assert_eq!(split.panels[1].text_zh.as_deref(), Some("OCT示裂孔"), "{raw}");
        assert_eq!(split.panels[1].text_en.as_deref(), Some("Scan of the eye"), "{raw}");
    }
    // A panel of a Chinese figure may hold Latin words alone.
    check(&[("图5-1a：彩照\n图5-1b：en face像", "5-1 :: A=彩照|B=en face像")]);
}

#[test]
fn labels_of_every_form() {
    check(&[
        ("图1 裂孔。A图示彩照；B图：造影", "1 :: 裂孔 :: A=彩照|B=造影"),
        ("图1 裂孔。【左】彩照；【右】造影", "1 :: 裂孔 :: 左=彩照|右=造影"),
        (
            "图1 A右眼彩照。BFFA示渗漏。COCT示水肿",
            "1 :: A=右眼彩照|B=FFA示渗漏|C=OCT示水肿",
        ),
        ("图1 A 右眼，见图3-7B　B 左眼", "1 :: A=右眼，见图3-7B|B=左眼"),
        ("图1 a：初诊时所见　b：左眼　c：造影", "1 :: A=初诊时所见|B=左眼|C=造影"),
        ("图1 1：双眼。2：左眼。3：3期病变", "1 :: 1=双眼|2=左眼|3=3期病变"),
        ("图1 A：彩照。B：0:52.4。早期", "1 :: A=彩照|B=0:52.4。早期"),
        ("Fig. 1 (A1) one. (A2 to B2) two.", "1 :: A1=one|A2,B1,B2=two"),
        ("图1 （A1－B1）静脉期；（B2）晚期", "1 :: A1,A2,B1=静脉期|B2=晚期"),
        (
            "Fig. 1 A-C. Sections. A1 and A2 are markers. A. Stain. B. Scan. C. Film.",
            "1 :: A-C. Sections. A1 and A2 are markers :: A=Stain|B=Scan|C=Film",
        ),
        (
            "Fig. 1 (A) and (B) show drusen, whereas (C) and (D) show scars.",
            "1 :: A,B=show drusen, whereas|C,D=show scars",
        ),
        (
            "Fig. 1 A and B, 10X; C and D, 20X and E and F, 40X.",
            "1 :: A,B=10X|C,D=20X|E,F=40X",
        ),
        (
            "Fig. 1 FFA 47 sec 6 image ①, FFA 5 min 2 image ②.",
            "1 :: ①=FFA 47 sec 6 image|②=FFA 5 min 2 image",
        ),
        ("图1 裂孔①、出血②、渗出③。", "1 :: ①=裂孔|②=出血|③=渗出"),
        (
            "Fig. 1 (upper left) Color, (upper right) Scan, (lower left) FFA 44-second image, (lower right) FFA 73 second image",
            "1 :: upper left=Color|upper right=Scan|lower left=FFA 44-second image|lower right=FFA 73 second image",
        ),
    ]);
}

#[test]
fn words_before_the_first_label() {
    check(&[
        (
            "图1 裂孔。彩照示樱桃红斑；动脉变细（A），造影（B）",
            "1 :: 裂孔 :: A=彩照示樱桃红斑；动脉变细|B=造影",
        ),
        (
            "图1 裂孔。动脉呈铜丝样，A/V=1:2（A），造影晚期（7:53）（B）",
            "1 :: 裂孔 :: A=动脉呈铜丝样，A/V=1:2|B=造影晚期（7:53）",
        ),
        ("图1 裂孔。OCT：积液（A），造影（B）", "1 :: 裂孔 :: A=OCT：积液|B=造影"),
        (
            "Fig. 1 Late stage in a young female.Fundus photograph (A) and scan (B).",
            "1 :: Late stage in a young female :: A=Fundus photograph|B=scan",
        ),
        (
            "Fig. 1 Carrier of genotype B. Color (A) and scan (B).",
            "1 :: Carrier of genotype B :: A=Color|B=scan",
        ),
    ]);
}

#[test]
fn names_of_species_and_enumerations_are_no_labels() {
    check(&[
        (
            "图1 A：彩照，B：C. albicans培养阳性，C：造影",
            "1 :: A=彩照|B=C. albicans培养阳性|C=造影",
        ),
        (
            "图1 A图：彩照；B图：OCT，C. albicans感染",
            "1 :: A=彩照|B=OCT，C. albicans感染",
        ),
        (
            "图1 A、M. tuberculosis感染；B、造影",
            "1 :: A=M. tuberculosis感染|B=造影",
        ),
        (
            "Color image of both eyes, as shown in Figs. 3-7 Brother of the patient, 24 years old",
            "=Color image of both eyes, as shown in Figs. 3-7 Brother of the patient, 24 years old",
        ),
        ("图1 A - H. pylori阴性；B - 超声", "1 :: A=H. pylori阴性|B=超声"),
        ("图1 A - 彩照；B - 造影；C - P=0.03", "1 :: A=彩照|B=造影|C=P=0.03"),
        (
            "图1 裂孔。两种类型：1）渗出型；2）萎缩型。a．彩照；b．造影",
            "1 :: 裂孔。两种类型：1）渗出型；2）萎缩型 :: A=彩照|B=造影",
        ),
        (
            "Fig. 1 A) Both discs, with loops in the right eye (a). B) Both discs, with loops in the left eye (b).",
            "1 :: A=Both discs, with loops in the right eye (a)|B=Both discs, with loops in the left eye (b)",
        ),
    ]);
}

#[test]
fn brackets_and_circles_that_ocr_damaged() {
    check(&[
        (
            "图1 [A]彩照，[B]造影，[C|ICGA，[D]OCT",
            "1 :: A=彩照|B=造影|C=ICGA|D=OCT",
        ),
        ("图1 (I)彩照。(IIJ造影", "1 :: I=彩照|II=造影"),
        ("图1 i)彩照，iiJFFA，iii)OCT", "1 :: I=彩照|II=FFA|III=OCT"),
        (
            "图1 【A】彩照；【B】造影；【C经病灶扫描",
            "1 :: A=彩照|B=造影|C=经病灶扫描",
        ),
        ("图1 彩照（A），造影（B，晚期（C）", "1 :: A=彩照|B=造影|C=晚期"),
        ("Fig. 1 [a] Color. |b] FFA. [c] OCT.", "1 :: A=Color|B=FFA|C=OCT"),
        (
            "图1 裂孔。彩照(左上)、造影(右上J、扫描(左下)、OCT{右下)",
            "1 :: 裂孔 :: 左上=彩照|右上=造影|左下=扫描|右下=OCT",
        ),
        ("图1 水肿D、出血②、渗出③", "1 :: ①=水肿|②=出血|③=渗出"),
        (
            "Fig. 1 Right eye ① and left eye @ and scan ③.",
            "1 :: ①=Right eye|②=left eye|③=scan",
        ),
        ("图1 O 彩照；② 造影；③ OCT", "1 :: ①=彩照|②=造影|③=OCT"),
        ("图1 A图：彩照；B图：造影oC阁：OCT", "1 :: A=彩照|B=造影o|C=OCT"),
        (
            "Fig. 1 Upper lefr pancl, color. Upper right panel, scan.",
            "1 :: upper left=color|Upper right panel=scan",
        ),
    ]);
}

#[test]
fn lines_end_anywhere() {
    check(&[
        (
            "图2-3　裂孔。彩照示后极部\n出血（A），造影（B）",
            "2-3 :: 裂孔 :: A=彩照示后极部出血|B=造影",
        ),
        (
            "图2-3　裂孔。左\n上图：彩照；右上\n图：造影",
            "2-3 :: 裂孔 :: 左上图=彩照|右上图=造影",
        ),
        (
            "Fig. 2-3 Upper\nleft panel: color. Upper right\npanel: scan.",
            "2-3 :: Upper left panel=color|Upper right panel=scan",
        ),
        (
            "Fig. 2-3 Panel\nA: color. Panel B: scan. Panel\nC: both.",
            "2-3 :: A=color|B=scan|C=both",
        ),
        ("Fig. 2-3 (a\nand b) color. (c) scan.", "2-3 :: A,B=color|C=scan"),
        (
            "Fig. 2-3 The same eye after oral vitamins\nB and C. The lesion of type\nA has healed.",
            "2-3 :: =The same eye after oral vitamins B and C. The lesion of type A has healed",
        ),
    ]);
    let split = split_caption(
        "图2-3　裂孔。A．彩照；B．造影。 Supplementary\nFigure 2-3. Hole. A, color of the eye. B, scan of the eye.",
        &SplitOptions::default(),
    );
    assert_eq!(split.panels[1].text_zh.as_deref(), Some("造影"));
    assert_eq!(split.panels[1].text_en.as_deref(), Some("scan of the eye"));
}
