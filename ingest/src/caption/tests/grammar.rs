//! The caption grammar, style by style, on invented captions in both languages.

use super::{SplitOptions, panels, split_caption};
use proptest::prelude::*;

/// Each as its panels.
fn check(table: &[(&str, &str)]) {
    super::check(table, panels);
}

#[test]
fn chinese_styles() {
    check(&[
        (
            "图3.1.4 糖尿病视网膜病变：A. 眼底彩照；B. FFA早期；C. FFA晚期",
            "A=眼底彩照|B=FFA早期|C=FFA晚期",
        ),
        ("附图7 视盘水肿 (1)彩照 (2)荧光造影 (3)OCT", "1=彩照|2=荧光造影|3=OCT"),
        ("彩图 3 (左)右眼彩照；(右)左眼彩照", "左=右眼彩照|右=左眼彩照"),
        ("图1-1 左：彩照；右：FFA", "左=彩照|右=FFA"),
        ("图1-1 上排：彩照。下排：FFA", "上排=彩照|下排=FFA"),
        (
            "图1-1 左上图为彩照，右上图为红外像，左下图为FFA，右下图为OCT",
            "左上图=彩照|右上图=红外像|左下图=FFA|右下图=OCT",
        ),
        (
            "图8-2 第一行：彩照；第二行：FFA；第三行：OCT",
            "第一行=彩照|第二行=FFA|第三行=OCT",
        ),
        ("图5-1 a、b：彩照；c、d：造影", "A,B=彩照|C,D=造影"),
        ("图5-1 a-d. 同一患者不同时期造影", "A,B,C,D=同一患者不同时期造影"),
        ("图5-1 A至C 彩照，D至F 造影", "A,B,C=彩照|D,E,F=造影"),
        ("图5-1 Ⅰ．彩照；Ⅱ．造影；Ⅲ．OCT", "I=彩照|II=造影|III=OCT"),
        ("图5-1 [A]彩照；[B]造影", "A=彩照|B=造影"),
        ("图5-1 【A】彩照；【B】造影", "A=彩照|B=造影"),
        ("图2-5 黄斑裂孔彩照（A）及OCT（B）", "A=黄斑裂孔彩照|B=OCT"),
        (
            "图2-5 患者男，50岁。右眼彩照（A、B）和造影（C～E）",
            "A,B=右眼彩照|C,D,E=造影",
        ),
        ("图2-5A 彩照。B 造影。C OCT", "A=彩照|B=造影|C=OCT"),
        ("图2-5 ⓐ彩照 ⓑ造影", "A=彩照|B=造影"),
        ("图2-5 ⑴彩照；⑵造影", "1=彩照|2=造影"),
        ("图2-5 1.彩照 2.造影 3.OCT", "1=彩照|2=造影|3=OCT"),
        ("图2-5 1、彩照；2、造影", "1=彩照|2=造影"),
        (
            "图4-3 A1、A2．右眼彩照；B1、B2．左眼彩照",
            "A1,A2=右眼彩照|B1,B2=左眼彩照",
        ),
        ("图4-3 A图示彩照，B图示造影", "A=彩照|B=造影"),
        ("图4-3 图A为彩照；图B为造影", "A=彩照|B=造影"),
        ("图4-3 A—彩照 B—造影", "A=彩照|B=造影"),
        ("图1-2 视网膜母细胞瘤 A，彩照；B，B超；C，CT", "A=彩照|B=B超|C=CT"),
        ("图6 E型图谱。（A）彩照（B）造影", "A=彩照|B=造影"),
        (
            "图2-3 黄斑裂孔 Macular hole A．彩照 Color photograph；B．造影 Angiogram",
            "A=彩照 Color photograph|B=造影 Angiogram",
        ),
        (
            "图2-3 黄斑裂孔。A．彩照；B．造影。Macular hole. A, Color photograph of the right eye; B, Fluorescein angiogram.",
            "A=彩照|B=造影",
        ),
        ("图1-5-2 （A）右眼；（B）左眼视盘水肿", "A=右眼|B=左眼视盘水肿"),
        ("图1-5-2 A 右眼 B 左眼 C 造影", "A=右眼|B=左眼|C=造影"),
        (
            "图1-5-2 A右眼眼底像；B左眼眼底像；C右眼FFA；D左眼FFA",
            "A=右眼眼底像|B=左眼眼底像|C=右眼FFA|D=左眼FFA",
        ),
        ("图 1—3 ①：彩照；②：造影；③～⑤：OCT", "①=彩照|②=造影|③,④,⑤=OCT"),
        ("图1-3 彩照①和造影②", "①=彩照|②=造影"),
        ("A．彩照；B．造影", "A=彩照|B=造影"),
        ("图2-9 A.彩照:B.造影:C.OCT", "A=彩照|B=造影|C=OCT"),
        ("图2-9 (A.彩照 (B.造影 (C.OCT", "A=彩照|B=造影|C=OCT"),
        ("图4 右眼（A）、左眼（B）眼底彩照", "A=右眼眼底彩照|B=左眼眼底彩照"),
        ("图4-1 眼底彩照。A、C为右眼；B、D为左眼", "A,C=为右眼|B,D=为左眼"),
        ("图4-1 视神经炎（A．彩照；B．造影）", "A=彩照|B=造影"),
        (
            "图4-1A～D　Stargardt病。后极部黄色斑点",
            "A,B,C,D=Stargardt病。后极部黄色斑点",
        ),
        ("图2 A：C．albicans感染；B：治疗后", "A=C．albicans感染|B=治疗后"),
        ("图2 A. 图像说明 B. 另一说明 C. 第三", "A=图像说明|B=另一说明|C=第三"),
    ]);
}

#[test]
fn english_styles() {
    check(&[
        (
            "Figure 3.12. Central serous chorioretinopathy: (A) color photo; (B) FA; (C) OCT.",
            "A=color photo|B=FA|C=OCT",
        ),
        (
            "FIGURE 9-5-45. A: Fundus photograph, OD. B: Fundus photograph, OS. C: Fluorescein angiogram, OD.",
            "A=Fundus photograph, OD|B=Fundus photograph, OS|C=Fluorescein angiogram, OD",
        ),
        (
            "Figure S2 Drusen. a, Color. b, Red-free. c–e, Angiograms.",
            "A=Color|B=Red-free|C,D,E=Angiograms",
        ),
        (
            "Plate IV. 1, Normal disc. 2, Papilledema. 3, Optic atrophy.",
            "1=Normal disc|2=Papilledema|3=Optic atrophy",
        ),
        (
            "Fig. 7. Left: color photograph. Right: fluorescein angiogram.",
            "Left=color photograph|Right=fluorescein angiogram",
        ),
        (
            "Fig. 7 Color photograph (left) and fluorescein angiogram (right) of a macular hole.",
            "left=Color photograph of a macular hole|right=fluorescein angiogram of a macular hole",
        ),
        (
            "Fig. 7 Top row: color photographs. Bottom row: OCT.",
            "Top row=color photographs|Bottom row=OCT",
        ),
        (
            "Fig. 7 Macular hole. Upper panel: OCT before surgery; lower panel: OCT after surgery.",
            "Upper panel=OCT before surgery|lower panel=OCT after surgery",
        ),
        (
            "Figure 2–12 Color fundus photograph (A) and late-phase angiogram (B) of the right eye.",
            "A=Color fundus photograph of the right eye|B=late-phase angiogram of the right eye",
        ),
        (
            "Figure 2-12. Retinoblastoma. Fundus photograph (A), B-scan ultrasonography (B), and CT scan (C).",
            "A=Fundus photograph|B=B-scan ultrasonography|C=CT scan",
        ),
        (
            "Figure 1. Panel A shows drusen. Panel B shows geographic atrophy.",
            "A=shows drusen|B=shows geographic atrophy",
        ),
        (
            "Fig. 4.2 i) Early phase; ii) Mid phase; iii) Late phase",
            "I=Early phase|II=Mid phase|III=Late phase",
        ),
        (
            "Fig. 4.2 (i) Early phase. (ii) Mid phase. (iii) Late phase. (iv) ICGA.",
            "I=Early phase|II=Mid phase|III=Late phase|IV=ICGA",
        ),
        ("Fig. 4 [a] Early. [b] Late.", "A=Early|B=Late"),
        ("Fig. 4 A - Early phase. B - Late phase.", "A=Early phase|B=Late phase"),
        ("Fig. 4 A = Early phase; B = Late phase", "A=Early phase|B=Late phase"),
        (
            "Figure 2-3A–C. Angiograms of the right eye at 20 s, 45 s and 5 min.",
            "A,B,C=Angiograms of the right eye at 20 s, 45 s and 5 min",
        ),
        (
            "Figure 5. A & B. Color photographs. C & D. Angiograms.",
            "A,B=Color photographs|C,D=Angiograms",
        ),
        (
            "Figure 5. (A, B) Color photographs and (C, D) angiograms.",
            "A,B=Color photographs|C,D=angiograms",
        ),
        (
            "Figure 5. (A to C) Color photographs; (D through F) angiograms",
            "A,B,C=Color photographs|D,E,F=angiograms",
        ),
        (
            "Figure 5. A1: color OD. A2: color OS. B1: FA OD. B2: FA OS.",
            "A1=color OD|A2=color OS|B1=FA OD|B2=FA OS",
        ),
        (
            "Fig. 8 Papilledema. A. Right eye. B. Left eye. As seen in (A), the margins are blurred.",
            "A=Right eye|B=Left eye. As seen in (A), the margins are blurred",
        ),
        (
            "Fig. 6 Color photographs of the right (a) and left (b) eyes.",
            "A=Color photographs of the right eyes|B=left eyes",
        ),
        (
            "Figure 10. Multimodal imaging. (Left) Color. (Middle) FAF. (Right) OCT.",
            "Left=Color|Middle=FAF|Right=OCT",
        ),
        (
            "Figure 10: Left panel, color photograph; right panel, angiogram.",
            "Left panel=color photograph|right panel=angiogram",
        ),
        (
            "Figure 11. Upper left: color. Upper right: FAF. Lower left: FA. Lower right: ICGA.",
            "Upper left=color|Upper right=FAF|Lower left=FA|Lower right=ICGA",
        ),
        ("Figure 4-7A. Fundus photograph.", "A=Fundus photograph"),
        ("(A) Color. (B) FFA.", "A=Color|B=FFA"),
        (
            "Fig. 3 a Color fundus photograph, b fluorescein angiography, c optical coherence tomography",
            "A=Color fundus photograph|B=fluorescein angiography|C=optical coherence tomography",
        ),
        (
            "Figure 8 Case 1. A and B, Color photographs. C, FA. D, ICGA.",
            "A,B=Color photographs|C=FA|D=ICGA",
        ),
        (
            "FIGURE 12.7 Coats' disease. A. Telangiectasia (arrow). B. FA. See also Fig. 12.8A and B.",
            "A=Telangiectasia (arrow)|B=FA. See also Fig. 12.8A and B",
        ),
        (
            "Fig. 2.1 (a, c) Right eye; (b, d) left eye.",
            "A,C=Right eye|B,D=left eye",
        ),
    ]);
}

#[test]
fn captions_without_labels_stay_whole() {
    for caption in [
        "图6 维生素A缺乏患者。B超未见异常。HLA-B27阴性",
        "图6 右眼A型超声与B型超声",
        "Figure 9. Vitamin A deficiency. Type B ultrasonography was normal. S. aureus endophthalmitis was ruled out.",
        "Figure 9. A 34-year-old woman with hepatitis B and a grade C lesion in zone A.",
        "Figure 9. Right eye: drusen. Left eye: normal.",
        "Figure 3. Fundus photograph of the left eye.",
        "图3 视网膜动脉阻塞，A/V为1:3，C/D 0.4",
        "图7-1 OD：彩照；OS：彩照",
    ] {
        let split = split_caption(caption, &SplitOptions::default());
        assert_eq!(split.panels.len(), 1, "{caption}: {:?}", split.panels);
        assert!(split.panels[0].labels.is_empty(), "{caption}: {:?}", split.panels);
    }
}

#[test]
fn labels_on_either_side_of_their_texts() {
    check(&[
        (
            "Fig. 2 (A) Color photograph. Angiograms of the right eye (B) and of the left eye (C). (D) Scan of the fovea.",
            "A=Color photograph|B=Angiograms of the right eye|C=of the left eye|D=Scan of the fovea",
        ),
        (
            "Fig. 2 Fundus photograph (A, arrow) and angiogram (B, late phase).",
            "A=Fundus photograph (arrow)|B=angiogram (late phase)",
        ),
        (
            "Figure 4—7 A—Photograph of the disc; B—Angiogram of the disc",
            "A=Photograph of the disc|B=Angiogram of the disc",
        ),
        (
            "Fig. 9 Disc pit (upper left), angiograms (upper right, lower left, and lower right).",
            "upper left=Disc pit|upper right,lower left,lower right=angiograms",
        ),
        ("图3-4 C．N．V．位于中心凹下。A．彩照；B．造影", "A=彩照|B=造影"),
        ("Panel A: photograph. PaneI B: angiogram.", "A=photograph|B=angiogram"),
    ]);
}

#[test]
fn labels_that_ocr_damaged() {
    check(&[
        (
            "图2-3　视盘水肿。A．彩照；8．造影早期；C．造影晚期",
            "A=彩照|B=造影早期|C=造影晚期",
        ),
        (
            "图2-3　视盘水肿。4．彩照；B．造影早期；C．造影晚期",
            "A=彩照|B=造影早期|C=造影晚期",
        ),
        (
            "图2-3（A）彩照；（B〉造影；（C）OCT；（0）ICGA",
            "A=彩照|B=造影|C=OCT|D=ICGA",
        ),
        ("图2-3（A）彩照；（BJ造影；（C）OCT", "A=彩照|B=造影|C=OCT"),
        ("图2-3 ①彩照；@造影；③OCT", "①=彩照|②=造影|③=OCT"),
        (
            "Fig. 2-3 (a) color; (6) angiogram; (c) OCT",
            "A=color|B=angiogram|C=OCT",
        ),
        (
            "Fig. 2-3 A. Color. B. Angiogram. ( . OCT. D. ICGA.",
            "A=Color|B=Angiogram|C=OCT|D=ICGA",
        ),
        (
            "Figure 2-3. A, Color. 8, Red-free. C, Angiogram.",
            "A=Color|B=Red-free|C=Angiogram",
        ),
        (
            "Fig. 4 (l) one lesion; (2) two lesions; (3) three lesions",
            "1=one lesion|2=two lesions|3=three lesions",
        ),
    ]);
}

#[test]
fn the_number_of_panels_settles_what_the_text_leaves_open() {
    assert_eq!(
        panels(&split_caption(
            "图2-3 A．彩照。视盘充血；C．造影",
            &SplitOptions { panels: Some(3) }
        )),
        "A=彩照|B=视盘充血|C=造影"
    );
    let split = split_caption("图2-3 A．彩照；B．造影", &SplitOptions { panels: Some(4) });
    assert!(
        split.issues.iter().any(|i| i.contains("2 labels for 4 panels")),
        "{:?}",
        split.issues
    );
    assert!(split.confidence < 0.7);
}

#[test]
fn two_languages_of_one_figure_are_joined_by_label() {
    let split = split_caption(
        "图2-12　黄斑裂孔。A．彩照；B．OCT。\nFIGURE 2-12. Macular hole. A, Color photograph. B, Optical coherence tomography.",
        &SplitOptions::default(),
    );
    assert_eq!(
        (split.language.as_str(), split.figure_no.as_deref()),
        ("zh+en", Some("2-12"))
    );
    assert_eq!(split.panels.len(), 2);
    assert_eq!(split.panels[1].text_zh.as_deref(), Some("OCT"));
    assert_eq!(split.panels[1].text_en.as_deref(), Some("Optical coherence tomography"));
    assert_eq!(split.panels[0].caption_zh.as_deref(), Some("黄斑裂孔。彩照"));
    assert_eq!(
        split.panels[0].caption_en.as_deref(),
        Some("Macular hole. Color photograph")
    );
}

#[test]
fn nested_brackets_and_lost_line_breaks() {
    check(&[
        (
            "Figure 2. ((A), (B)) Colour photographs. ((C), (D)) Angiograms.",
            "A,B=Colour photographs|C,D=Angiograms",
        ),
        (
            "Fig. 5 Photograph of vessels (a). b Angiogram of the late phase",
            "A=Photograph of vessels|B=Angiogram of the late phase",
        ),
        (
            "图3-12 黄斑裂孔 A.彩照 B.OCT Fig.3-12 Macular hole A.Color photo B.OCT",
            "A=彩照|B=OCT",
        ),
    ]);
}

#[test]
fn who_speaks_of_the_whole_figure_goes_on_with_it() {
    let split = split_caption(
        "Fig. 3 (A) Before. (B) After. All images were taken with one camera. The field is 30 degrees wide. \
         CNV, choroidal neovascularization; RPE, retinal pigment epithelium.",
        &SplitOptions::default(),
    );
    assert!(split.panels[0].caption.starts_with("Before. All images"), "{split:?}");
    assert!(split.panels[0].caption.ends_with("epithelium"), "{split:?}");
}

#[test]
fn preface_and_closing_words_go_to_every_caption() {
    let split = split_caption(
        "Fig. 3 Macular hole. (A) Before surgery. (B) After surgery. Scale bars = 200 um.",
        &SplitOptions::default(),
    );
    assert_eq!(split.preface, "Macular hole");
    assert_eq!(split.panels[0].text, "Before surgery");
    assert_eq!(
        split.panels[0].caption,
        "Macular hole. Before surgery. Scale bars = 200 um"
    );
    assert_eq!(
        split.panels[1].caption,
        "Macular hole. After surgery. Scale bars = 200 um"
    );
}

#[test]
fn figure_numbers_of_every_form() {
    for (caption, number) in [
        ("图 1—3 裂孔", Some("1-3")),
        ("图3.1.4 水肿", Some("3.1.4")),
        ("附图12 水肿", Some("12")),
        ("彩图5-1A 水肿", Some("5-1")),
        ("Figure S2. Drusen", Some("S2")),
        ("Plate IV. Drusen", Some("IV")),
        ("| FIGURE 9-5-45. Drusen", Some("9-5-45")),
        ("14-15-3 A．彩照；B．造影", Some("14-15-3")),
        ("Drusen of the right eye", None),
        ("2-3 weeks after treatment", None),
    ] {
        assert_eq!(
            split_caption(caption, &SplitOptions::default()).figure_no.as_deref(),
            number,
            "{caption}"
        );
    }
}

/// Captions of 60 kB and more that repeat one thing: what takes time that grows faster than the text
/// would keep this test from ending.
#[test]
fn long_texts_are_split_like_short_ones() {
    for part in [
        "(A) one, ",
        "A. one. ",
        "((",
        "((a)",
        "[(",
        "A ",
        "A-",
        "A,B,",
        "AJ ",
        "C",
        "a;",
        "图1-1A 彩照。",
        "Fig. 1-1 A. x\n",
        "图1-1 彩照。\nFig. 1-1 Photo. ",
        "①",
        "彩照①、",
        "① O、",
        "左图：彩照；",
        "left, ",
        "(left) x ",
        "第一行：x。",
        "Photo (A) shows it, ",
        "(A, x ",
        "(A-Z) ",
        "A1-B9 ",
        "1.1",
        "iv, ",
        "e\u{301}",
        "\u{fdfa}",
        "\u{1}",
        "\u{3000}",
        "|A] ",
        "a-\n",
        ": 1) x; ",
        "彩照 fundus photograph of the eye ",
        "Supplementary ",
        "panel A ",
        "All images. ",
    ] {
        let raw = format!("图1-1 {}", part.repeat(60_000 / part.len()));
        for panels in [None, Some(3)] {
            let split = split_caption(&raw, &SplitOptions { panels });
            assert!(!split.panels.is_empty(), "{part}");
        }
    }
}

proptest! {
    #[test]
    fn no_character_of_any_plane_makes_it_panic(
        raw in proptest::collection::vec(any::<char>(), 0..80),
        panels in proptest::option::of(any::<usize>()),
    ) {
        let raw: String = "图1 A. ".chars().chain(raw).collect();
        let split = split_caption(&raw, &SplitOptions { panels });
        prop_assert!(!split.panels.is_empty());
    }

    #[test]
    fn no_text_makes_it_panic(raw in "\\PC{0,120}", panels in proptest::option::of(0usize..40)) {
        let split = split_caption(&raw, &SplitOptions { panels });
        prop_assert!(!split.panels.is_empty());
        prop_assert!((0.0..=1.0).contains(&split.confidence));
    }

    #[test]
    fn no_caption_like_text_makes_it_panic(
        parts in proptest::collection::vec(
            prop_oneof![
                "图[0-9]{1,2}[-.][0-9]", "Fig\\. [0-9]-[0-9][A-C]?", "\n", " ", "[A-F]", "[a-f]", "[(（][A-Da-d1-4][)）]",
                "[A-D][.．:：、,]", "[①-⑤]", "[左右上下]图?[:：]", "(left|Right|upper|lower)[,:)]", "[。；，,;.]",
                "彩照", "造影晚期", "color photograph", "and", "和", "[A-D][-~～至][B-F]", "[(\\[{)\\]}]"
            ],
            0..25,
        ),
        panels in proptest::option::of(0usize..9),
    ) {
        let raw = parts.concat();
        let split = split_caption(&raw, &SplitOptions { panels });
        prop_assert!(!split.panels.is_empty());
    }

    #[test]
    fn clean_lettered_captions_are_read_back(
        texts in proptest::collection::vec("[彩照造影晚期渗漏黄斑水肿]{2,8}", 2..7),
        style in 0usize..6,
    ) {
        let wrap: [fn(char) -> String; 6] = [
            |c| format!("{c}．"),
            |c| format!("（{c}）"),
            |c| format!("({})", c.to_ascii_lowercase()),
            |c| format!("{c}："),
            |c| format!("{c}、").replace('、', "）"),
            |c| char::from_u32('①' as u32 + (c as u32 - 'A' as u32)).unwrap().to_string(),
        ];
        let body: Vec<String> =
            texts.iter().enumerate().map(|(i, t)| format!("{}{t}", wrap[style](char::from(b'A' + i as u8)))).collect();
        let raw = format!("图3-7　视网膜病变。{}。", body.join("；"));
        let split = split_caption(&raw, &SplitOptions::default());
        let got: Vec<&str> = split.panels.iter().map(|p| p.text.as_str()).collect();
        prop_assert_eq!(got, texts.iter().map(String::as_str).collect::<Vec<_>>(), "{}", raw);
    }
}
