//! Captions in the manner of textbooks, atlases and journals, and what a careful reader makes of them.

use super::{joined, panels};

/// Each as `preface :: panels`.
fn check(table: &[(&str, &str)]) {
    super::check(table, |split| joined(&[&split.preface, &panels(split)]));
}

#[test]
fn chinese_atlases() {
    check(&[
        (
            "图5-8 BRVO A 彩照 示颞上象限出血 B FFA 示荧光遮蔽",
            "BRVO :: A=彩照示颞上象限出血|B=FFA 示荧光遮蔽",
        ),
        ("图5-9 CRVO A 眼底彩照 B FFA C OCT", "CRVO :: A=眼底彩照|B=FFA|C=OCT"),
        ("图3-2 同一患者右眼(a)和左眼(b)彩照", "A=同一患者右眼彩照|B=左眼彩照"),
        ("图3-2 右眼（A）和左眼（B）彩照", "A=右眼彩照|B=左眼彩照"),
        (
            "图6-2 黄斑裂孔。8．彩照；B．FFA；C．OCT",
            "黄斑裂孔 :: A=彩照|B=FFA|C=OCT",
        ),
        (
            "图6-2 黄斑裂孔。A．彩照；B．FFA；C．OCT；0．ICGA",
            "黄斑裂孔 :: A=彩照|B=FFA|C=OCT|D=ICGA",
        ),
        (
            "图6-3 视盘水肿。A。彩照 B。FFA C。OCT",
            "视盘水肿 :: A=彩照|B=FFA|C=OCT",
        ),
        (
            "图6-3 视盘水肿。(A)彩照；(B)FFA；(C)OCT；(1D)ICGA",
            "视盘水肿 :: A=彩照|B=FFA|C=OCT|D=ICGA",
        ),
        ("图6-4 视盘水肿 ①彩照；②FFA；@OCT", "视盘水肿 :: ①=彩照|②=FFA|③=OCT"),
        (
            "图6-4 视盘水肿 ①彩照；②FFA；©OCT；④ICGA",
            "视盘水肿 :: ①=彩照|②=FFA|③=OCT|④=ICGA",
        ),
        ("图6-4 视盘水肿。①彩照；②FFA；OOCT", "视盘水肿 :: ①=彩照|②=FFA；OOCT"),
        (
            "图3-12 黄斑裂孔。上图为彩照，下图为OCT",
            "黄斑裂孔 :: 上图=彩照|下图=OCT",
        ),
        (
            "图3-12 黄斑前膜。上图：OCT术前；下图：OCT术后",
            "黄斑前膜 :: 上图=OCT术前|下图=OCT术后",
        ),
        ("图3-13 A图为右眼彩照，B图为左眼彩照", "A=右眼彩照|B=左眼彩照"),
        (
            "图3-14 视网膜脱离（箭头）。A．术前；B．术后（箭头示裂孔）",
            "视网膜脱离（箭头） :: A=术前|B=术后（箭头示裂孔）",
        ),
        ("图3-15 ①-③FFA早中晚期；④OCT", "①,②,③=FFA早中晚期|④=OCT"),
        ("图3-15 脉络膜血管瘤 ①～③FFA；④ICGA", "脉络膜血管瘤 :: ①,②,③=FFA|④=ICGA"),
        ("图8-1 B型超声检查。A．右眼；B．左眼", "B型超声检查 :: A=右眼|B=左眼"),
        (
            "图8-2 A型性格与中浆。彩照示后极部盘状隆起",
            "=A型性格与中浆。彩照示后极部盘状隆起",
        ),
        (
            "图9-1 患者女，45岁，维生素A缺乏。a 右眼；b 左眼",
            "患者女，45岁，维生素A缺乏 :: A=右眼|B=左眼",
        ),
        (
            "图10-2 CNV。A：彩照示黄斑出血。B：FFA示典型性CNV。C：OCT",
            "CNV :: A=彩照示黄斑出血|B=FFA示典型性CNV|C=OCT",
        ),
        ("图10-3 PCV A眼底彩照 B ICGA C OCT", "PCV :: A=眼底彩照|B=ICGA|C=OCT"),
        ("图11-1 DR（A）彩照；（B）FFA", "DR :: A=彩照|B=FFA"),
        (
            "图11-2 左眼视网膜中央动脉阻塞 a. 发病当天眼底像 b. 一周后 c. FFA",
            "左眼视网膜中央动脉阻塞 :: A=发病当天眼底像|B=一周后|C=FFA",
        ),
        (
            "图11-3 AMD 患者治疗前（A、B）与治疗后（C、D）的OCT",
            "A,B=AMD 患者治疗前的OCT|C,D=治疗后的OCT",
        ),
        (
            "图12-1 白塞病（A-D）右眼FFA不同时期；（E）OCT",
            "白塞病 :: A,B,C,D=右眼FFA不同时期|E=OCT",
        ),
        (
            "图12-2 Vogt-小柳-原田综合征 A、B彩照 C、D FFA",
            "Vogt-小柳-原田综合征 :: A,B=彩照|C,D=FFA",
        ),
        (
            "图12-3 HIV/CMV视网膜炎。A.彩照;B.2周后;C.2个月后",
            "HIV/CMV视网膜炎 :: A=彩照|B=2周后|C=2个月后",
        ),
        (
            "图12-4 A.OD 彩照 B.OS 彩照 C.OD FFA D.OS FFA",
            "A=OD 彩照|B=OS 彩照|C=OD FFA|D=OS FFA",
        ),
        (
            "图12-5 视网膜母细胞瘤 第1排：彩照；第2排：B超",
            "视网膜母细胞瘤 :: 第1排=彩照|第2排=B超",
        ),
        ("图13-1 Coats病 1.彩照 2.FFA 3.OCT", "Coats病 :: 1=彩照|2=FFA|3=OCT"),
        (
            "图13-2 黄斑囊样水肿 A)彩照 B)FFA 3min C)FFA 10min",
            "黄斑囊样水肿 :: A=彩照|B=FFA 3min|C=FFA 10min",
        ),
        (
            "图13-3 息肉样病变 A～C为右眼；D～F为左眼。箭头示息肉",
            "息肉样病变 :: A,B,C=为右眼|D,E,F=为左眼。箭头示息肉",
        ),
        (
            "图14-1 Eales病 FFA 早期（A）及晚期（B），箭头示毛细血管扩张",
            "A=Eales病 FFA 早期，箭头示毛细血管扩张|B=晚期，箭头示毛细血管扩张",
        ),
        (
            "图14-2 糖尿病性黄斑水肿OCT图像（a）治疗前；（b）治疗后",
            "糖尿病性黄斑水肿OCT图像 :: A=治疗前|B=治疗后",
        ),
        (
            "图14-3 右眼视网膜脱离。彩照(A)，B超(B)，UBM(C)",
            "右眼视网膜脱离 :: A=彩照|B=B超|C=UBM",
        ),
        (
            "图14-4 VKH 患者 A 彩照 B OCT C FFA D ICGA",
            "VKH 患者 :: A=彩照|B=OCT|C=FFA|D=ICGA",
        ),
        (
            "图14-5 A: OCTA浅层; B: OCTA深层; C: B-scan",
            "A=OCTA浅层|B=OCTA深层|C=B-scan",
        ),
        (
            "图14-6 ROP 1区2期。A. RetCam右眼；B. RetCam左眼",
            "ROP 1区2期 :: A=RetCam右眼|B=RetCam左眼",
        ),
        (
            "图14-7 CSC 治疗前后 OCT A 扫描方式说明",
            "=CSC 治疗前后 OCT A 扫描方式说明",
        ),
        ("图14-8 OCT A 和 B 超检查结果一致", "=OCT A 和 B 超检查结果一致"),
        (
            "图15-1 左图为彩照；右图为FFA，示荧光渗漏",
            "左图=彩照|右图=FFA，示荧光渗漏",
        ),
        (
            "图15-2 原发性玻璃体淀粉样变性　（1）右眼　（2）左眼",
            "原发性玻璃体淀粉样变性 :: 1=右眼|2=左眼",
        ),
        (
            "图16-1 黄斑裂孔术前(A)、术后(B)OCT像",
            "A=黄斑裂孔术前OCT像|B=术后OCT像",
        ),
        (
            "图16-2 视网膜血管瘤。右眼眼底彩照（A）示颞侧红色瘤体；FFA（B）示早期强荧光；OCT（C）示视网膜下积液",
            "视网膜血管瘤 :: A=右眼眼底彩照示颞侧红色瘤体|B=FFA示早期强荧光|C=OCT示视网膜下积液",
        ),
        (
            "图17-1 视网膜色素变性 A～D 彩照 E 视野",
            "视网膜色素变性 :: A,B,C,D=彩照|E=视野",
        ),
        (
            "图17-2 糖网 A1彩照 A2 FFA B1彩照 B2 FFA",
            "糖网 :: A1=彩照|A2=FFA|B1=彩照|B2=FFA",
        ),
        (
            "图17-3 右眼CRAO。a．发病2小时；b．发病1周；c．ERG b波下降",
            "右眼CRAO :: A=发病2小时|B=发病1周|C=ERG b波下降",
        ),
        (
            "图17-4 DR。A 彩照：微血管瘤；B FFA：无灌注区；C OCT：DME",
            "DR :: A=彩照：微血管瘤|B=FFA：无灌注区|C=OCT：DME",
        ),
        (
            "图17-5 病例1（A、B）、病例2（C、D）治疗前后OCT",
            "A,B=病例1治疗前后OCT|C,D=病例2治疗前后OCT",
        ),
        (
            "图16-3 右眼彩照（A）示视盘水肿，左眼彩照（B）示正常",
            "A=右眼彩照示视盘水肿|B=左眼彩照示正常",
        ),
    ]);
}

#[test]
fn english_books_and_journals() {
    check(&[
        (
            "Fig. 3. (a, b) Fundus photographs of both eyes showing drusen. (c) Fluorescein angiogram of the right eye. (d) OCT B-scan.",
            "A,B=Fundus photographs of both eyes showing drusen|C=Fluorescein angiogram of the right eye|D=OCT B-scan",
        ),
        (
            "Fig. 12.4 Adult vitelliform dystrophy. (A) Small foveal lesion; (B) FAF; (C) OCT shows a dome-shaped subfoveal deposit",
            "Adult vitelliform dystrophy :: A=Small foveal lesion|B=FAF|C=OCT shows a dome-shaped subfoveal deposit",
        ),
        (
            "Fig. 13.20 Branch retinal vein occlusion. (A) Superotemporal BRVO; (B) FA venous phase shows hypofluorescence due to blockage; (C) FA late phase (Courtesy of Moorfields Eye Hospital – figs A and B)",
            "Branch retinal vein occlusion :: A=Superotemporal BRVO|B=FA venous phase shows hypofluorescence due to blockage|C=FA late phase (Courtesy of Moorfields Eye Hospital – figs A and B)",
        ),
        (
            "Figure 2. Top left: Fundus photograph. Top right: FAF. Bottom left: FFA. Bottom right: OCT.",
            "Top left=Fundus photograph|Top right=FAF|Bottom left=FFA|Bottom right=OCT",
        ),
        (
            "Figure 2. Left panel: fundus photograph of the right eye. Right panel: OCT.",
            "Left panel=fundus photograph of the right eye|Right panel=OCT",
        ),
        (
            "Figure 3. Multimodal imaging. A-C, Color photographs of three patients; D, OCT of patient 1; E-F, FAF.",
            "Multimodal imaging :: A,B,C=Color photographs of three patients|D=OCT of patient 1|E,F=FAF",
        ),
        (
            "Fig. 1 a–c Fluorescein angiography in early, mid and late phase. d Indocyanine green angiography",
            "A,B,C=Fluorescein angiography in early, mid and late phase|D=Indocyanine green angiography",
        ),
        (
            "Figure 7. Retinal dystrophy. (A1, A2) Color photographs. (B1, B2) Autofluorescence. (C1, C2) OCT.",
            "Retinal dystrophy :: A1,A2=Color photographs|B1,B2=Autofluorescence|C1,C2=OCT",
        ),
        (
            "Figure 4. (I) Preoperative OCT. (II) One month after surgery. (III) Six months after surgery.",
            "I=Preoperative OCT|II=One month after surgery|III=Six months after surgery",
        ),
        (
            "Figure 8. Xerophthalmia from vitamin A deficiency. A, Bitot spot. B, Fundus with white dots. C, Same eye after vitamin A.",
            "Xerophthalmia from vitamin A deficiency :: A=Bitot spot|B=Fundus with white dots|C=Same eye after vitamin A",
        ),
        (
            "Figure 9. Patient with hepatitis B and interferon retinopathy. (A) Cotton-wool spots. (B) Resolution at 3 months.",
            "Patient with hepatitis B and interferon retinopathy :: A=Cotton-wool spots|B=Resolution at 3 months",
        ),
        (
            "Fig. 10 Endophthalmitis caused by E. coli. A. Hypopyon. B. B-scan shows vitreous opacities.",
            "Endophthalmitis caused by E. coli :: A=Hypopyon|B=B-scan shows vitreous opacities",
        ),
        (
            "Fig. 11 Fundus after I.V. methylprednisolone. a) Before. b) After.",
            "Fundus after I.V. methylprednisolone :: A=Before|B=After",
        ),
        (
            "Plate II. A. Normal fundus. B. Tigroid fundus.",
            "A=Normal fundus|B=Tigroid fundus",
        ),
        (
            "Figure 5. Surgical technique: (1) core vitrectomy, (2) ILM peeling, (3) gas tamponade.",
            "Surgical technique :: 1=core vitrectomy|2=ILM peeling|3=gas tamponade",
        ),
        (
            "Figure 6. OD (A) and OS (B) fundus photographs show macular edema.",
            "A=OD fundus photographs show macular edema|B=OS fundus photographs show macular edema",
        ),
        (
            "Fig. 6 Fundus photographs. A, OD; B, OS.",
            "Fundus photographs :: A=OD|B=OS",
        ),
        (
            "Figure 10. β-carotene retinopathy: (α) not a label. (a) Color. (b) FFA.",
            "β-carotene retinopathy: (α) not a label :: A=Color|B=FFA",
        ),
        (
            "Figure 12. Type C retinopathy. Left eye. There is no panel.",
            "=Type C retinopathy. Left eye. There is no panel",
        ),
        (
            "Fig. 4.3 Cotton wool spots. a Histology shows cytoid bodies in the nerve fibre layer; b clinical appearance",
            "Cotton wool spots :: A=Histology shows cytoid bodies in the nerve fibre layer|B=clinical appearance",
        ),
        (
            "Figure 13 Fundus photograph of the right eye (top) and left eye (bottom).",
            "top=Fundus photograph of the right eye|bottom=left eye",
        ),
        (
            "Figure 14: (Top) OCT at baseline. (Bottom) OCT at month 12.",
            "Top=OCT at baseline|Bottom=OCT at month 12",
        ),
        (
            "Fig 15. Panel (a): color; Panel (b): FAF; Panel (c): OCT.",
            "A=color|B=FAF|C=OCT",
        ),
        (
            "FIG. 16—Retinal detachment. A: before; B: after operation.",
            "Retinal detachment :: A=before|B=after operation",
        ),
        (
            "Figure 17. A 65-year-old man with AMD. A: drusen. B: PED. C: OCT.",
            "A 65-year-old man with AMD :: A=drusen|B=PED|C=OCT",
        ),
        (
            "Figure 18. A: A 30-year-old woman with PIC. B: A fellow eye.",
            "A=A 30-year-old woman with PIC|B=A fellow eye",
        ),
        (
            "Figure 19a. Early venous phase. Figure 19b. Late phase.",
            "A=Early venous phase|B=Late phase",
        ),
        (
            "Fig. 20 (A and B) OD and OS fundus photos; (C and D) corresponding OCT scans",
            "A,B=OD and OS fundus photos|C,D=corresponding OCT scans",
        ),
        (
            "Figure 21. Fundus images (A) before and (B) after treatment.",
            "Fundus images :: A=before|B=after treatment",
        ),
        (
            "Figure 22. Color image (A) and FA image (B) of the right eye.",
            "A=Color image of the right eye|B=FA image of the right eye",
        ),
        (
            "Figure 23. See panel (b) of Figure 2. Drusen in the macula.",
            "=See panel (b) of Figure 2. Drusen in the macula",
        ),
        (
            "Figure 24. Panels (A) and (B) show color photographs; panel (C) shows OCT.",
            "A,B=show color photographs|C=shows OCT",
        ),
        (
            "Fig. 25 Sickle cell retinopathy, stage III (Goldberg). (A) Sea fan. (B) FA.",
            "Sickle cell retinopathy, stage III (Goldberg) :: A=Sea fan|B=FA",
        ),
        (
            "Fig. 26. Retinitis pigmentosa. a, b Fundus of the right and left eye. c, d Visual fields. e ERG",
            "Retinitis pigmentosa :: A,B=Fundus of the right and left eye|C,D=Visual fields|E=ERG",
        ),
        (
            "Figure 27. Upper row: right eye. Lower row: left eye.",
            "Upper row=right eye|Lower row=left eye",
        ),
        (
            "Figure 28. First row: color; second row: FAF; third row: OCT.",
            "First row=color|second row=FAF|third row=OCT",
        ),
        (
            "Figure 31. Scheme: (A) normal, (B) edema and (C) atrophy of the macula.",
            "Scheme :: A=normal|B=edema|C=atrophy of the macula",
        ),
        (
            "Figure 32. Photographs (A) and (B) of the right eye and angiogram (C).",
            "A,B=Photographs of the right eye|C=angiogram",
        ),
        (
            "Figure 33. Fundus photograph (A) shows drusen, and OCT (B) shows PED. FA (C) shows late staining.",
            "A=Fundus photograph shows drusen|B=OCT shows PED|C=FA shows late staining",
        ),
        (
            "Figure 34. OCT angiography before (a) and after (b) anti-VEGF.",
            "A=OCT angiography before anti-VEGF|B=after anti-VEGF",
        ),
        (
            "Figure 35. Color fundus photograph (A) of the right eye and OCT (B) of the left eye.",
            "A=Color fundus photograph of the right eye|B=OCT of the left eye",
        ),
        (
            "Figure 36. Late-phase angiogram (A) and OCT (B) of the right eye.",
            "A=Late-phase angiogram of the right eye|B=OCT of the right eye",
        ),
        (
            "Fig. 41 a, b: Color fundus photographs; c: FFA; d: ICGA.",
            "A,B=Color fundus photographs|C=FFA|D=ICGA",
        ),
        (
            "Figure 42 | Choroidal melanoma. a | Fundus. b | Ultrasound.",
            "Choroidal melanoma :: A=Fundus|B=Ultrasound",
        ),
        (
            "Figure 43. Fundus of (a) right and (b) left eye.",
            "Fundus of :: A=right|B=left eye",
        ),
        (
            "Fig. 44 Fundus photos: right eye (left panel), left eye (right panel).",
            "Fundus photos :: left panel=right eye|right panel=left eye",
        ),
        (
            "Figure 45. Fluorescein angiogram (FA) of type 1 (A) and type 2 (B) CNV.",
            "A=Fluorescein angiogram (FA) of type 1 CNV|B=type 2 CNV",
        ),
    ]);
}
