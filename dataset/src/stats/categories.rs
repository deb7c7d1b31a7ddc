//! Which diseases captions name: a list of retinal categories with the words
//! for each in both languages.

use regex::RegexSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Category and the spellings that name it, lower case, separated by `|`. A
/// spelling counts as a whole word; Chinese spellings count wherever they stand.
const CATEGORIES: &[(&str, &str)] = &[
    (
        "normal fundus",
        "normal person|normal fundus|normal child|normal eye|normal retina|正常人|正常眼底",
    ),
    (
        "diabetic retinopathy",
        "diabetic retinopathy|diabetic retinopathies|npdr|pdr|糖尿病视网膜病变|糖尿病性视网膜病变",
    ),
    (
        "diabetic macular edema",
        "diabetic macular edema|diabetic macular oedema|dme|糖尿病黄斑水肿|糖尿病性黄斑水肿",
    ),
    (
        "hypertensive retinopathy",
        "hypertensive retinopathy|高血压视网膜病变|高血压性视网膜病变",
    ),
    (
        "central retinal vein occlusion",
        "central retinal vein occlusion|crvo|视网膜中央静脉阻塞",
    ),
    (
        "branch retinal vein occlusion",
        "branch retinal vein occlusion|brvo|视网膜分支静脉阻塞",
    ),
    ("retinal vein occlusion", "retinal vein occlusion|rvo|视网膜静脉阻塞"),
    (
        "central retinal artery occlusion",
        "central retinal artery occlusion|crao|视网膜中央动脉阻塞",
    ),
    (
        "branch retinal artery occlusion",
        "branch retinal artery occlusion|brao|视网膜分支动脉阻塞",
    ),
    ("retinal artery occlusion", "retinal artery occlusion|视网膜动脉阻塞"),
    (
        "age-related macular degeneration",
        "age-related macular degeneration|age related macular degeneration|amd|年龄相关性黄斑变性|老年性黄斑变性",
    ),
    (
        "polypoidal choroidal vasculopathy",
        "polypoidal choroidal vasculopathy|pcv|息肉状脉络膜血管病变",
    ),
    (
        "central serous chorioretinopathy",
        "central serous chorioretinopathy|central serous retinopathy|csc|中心性浆液性",
    ),
    (
        "choroidal neovascularization",
        "choroidal neovascularization|choroidal neovascularisation|choroidal neovascular membrane|cnv|脉络膜新生血管",
    ),
    (
        "retinal neovascularization",
        "retinal neovascularization|neovascularization of the retina|视网膜新生血管",
    ),
    ("macular hole", "macular hole|macular holes|黄斑裂孔"),
    (
        "epiretinal membrane",
        "epiretinal membrane|epiretinal membranes|macular epiretinal membrane|erm|黄斑前膜|视网膜前膜",
    ),
    ("macular edema", "macular edema|macular oedema|黄斑水肿"),
    (
        "cystoid macular edema",
        "cystoid macular edema|cystoid macular oedema|cme|囊样黄斑水肿|黄斑囊样水肿",
    ),
    ("retinal detachment", "retinal detachment|detached retina|视网膜脱离"),
    (
        "pigment epithelial detachment",
        "pigment epithelial detachment|pigment epithelium detachment|ped|色素上皮脱离",
    ),
    ("retinoschisis", "retinoschisis|视网膜劈裂"),
    (
        "retinal tear",
        "retinal tear|retinal tears|retinal hole|retinal break|视网膜裂孔",
    ),
    (
        "vitreous hemorrhage",
        "vitreous hemorrhage|vitreous haemorrhage|玻璃体积血|玻璃体出血",
    ),
    ("vitreous opacity", "vitreous opacity|vitreous opacities|玻璃体混浊"),
    ("vitreomacular traction", "vitreomacular traction|玻璃体黄斑牵拉"),
    ("drusen", "drusen|玻璃膜疣"),
    ("geographic atrophy", "geographic atrophy|地图样萎缩|地图状萎缩"),
    ("microaneurysm", "microaneurysm|microaneurysms|微动脉瘤|微血管瘤"),
    ("hard exudate", "hard exudate|hard exudates|硬性渗出"),
    (
        "cotton wool spot",
        "cotton wool spot|cotton wool spots|cotton-wool spot|cotton-wool spots|soft exudates|棉绒斑|棉絮斑|软性渗出",
    ),
    (
        "retinal hemorrhage",
        "retinal hemorrhage|retinal hemorrhages|retinal haemorrhage|subretinal hemorrhage|视网膜出血|视网膜下出血",
    ),
    ("macroaneurysm", "macroaneurysm|macroaneurysms|大动脉瘤"),
    ("glaucoma", "glaucoma|glaucomatous|青光眼"),
    ("cataract", "cataract|cataracts|白内障"),
    ("myopia", "myopia|myopic|近视"),
    (
        "pathologic myopia",
        "pathologic myopia|pathological myopia|high myopia|degenerative myopia|病理性近视|高度近视",
    ),
    (
        "optic disc edema",
        "optic disc edema|optic disk edema|papilledema|papilloedema|optic papilla edema|视盘水肿|视乳头水肿",
    ),
    ("optic neuritis", "optic neuritis|papillitis|视神经炎|视乳头炎"),
    ("optic atrophy", "optic atrophy|optic nerve atrophy|视神经萎缩"),
    (
        "ischemic optic neuropathy",
        "ischemic optic neuropathy|aion|缺血性视神经病变",
    ),
    ("optic disc drusen", "optic disc drusen|optic nerve drusen|视盘玻璃膜疣"),
    ("optic disc pit", "optic disc pit|optic pit|视盘小凹"),
    ("morning glory syndrome", "morning glory|牵牛花"),
    ("coloboma", "coloboma|colobomas|视盘缺损|脉络膜缺损"),
    (
        "myelinated nerve fibers",
        "myelinated nerve fibers|myelinated nerve fibres|myelinated retinal nerve fibers|medullated nerve fibers|有髓鞘神经纤维|有髓神经纤维",
    ),
    ("retinitis pigmentosa", "retinitis pigmentosa|视网膜色素变性"),
    (
        "Stargardt disease",
        "stargardt|stargardt's|stargardt病|fundus flavimaculatus|黄色斑点状眼底",
    ),
    (
        "vitelliform dystrophy",
        "vitelliform|best disease|best's disease|卵黄样",
    ),
    (
        "cone dystrophy",
        "cone dystrophy|cone-rod dystrophy|视锥细胞营养不良|锥细胞营养不良",
    ),
    ("choroideremia", "choroideremia|无脉络膜症"),
    ("albinism", "albinism|白化病"),
    ("angioid streaks", "angioid streaks|angioid streak|血管样条纹"),
    ("retinoblastoma", "retinoblastoma|视网膜母细胞瘤"),
    (
        "choroidal melanoma",
        "choroidal melanoma|uveal melanoma|malignant melanoma|脉络膜黑色素瘤",
    ),
    ("choroidal nevus", "choroidal nevus|choroidal naevus|脉络膜痣"),
    (
        "choroidal hemangioma",
        "choroidal hemangioma|choroidal haemangioma|脉络膜血管瘤",
    ),
    (
        "retinal hemangioma",
        "retinal hemangioma|capillary hemangioma|retinal angioma|视网膜血管瘤",
    ),
    ("choroidal osteoma", "choroidal osteoma|脉络膜骨瘤"),
    (
        "choroidal metastasis",
        "choroidal metastasis|metastatic carcinoma|choroidal metastatic|脉络膜转移癌",
    ),
    ("uveitis", "uveitis|葡萄膜炎"),
    ("choroiditis", "choroiditis|脉络膜炎"),
    ("retinitis", "retinitis|视网膜炎"),
    (
        "retinal vasculitis",
        "retinal vasculitis|vasculitis|视网膜血管炎|视网膜静脉周围炎",
    ),
    ("Vogt-Koyanagi-Harada disease", "vogt-koyanagi-harada|harada|vkh|小柳"),
    ("Behcet disease", "behcet|behcet's|behçet|behçet's|白塞"),
    ("acute retinal necrosis", "acute retinal necrosis|急性视网膜坏死"),
    ("toxoplasmosis", "toxoplasmosis|toxoplasmic|弓形虫|弓形体"),
    ("endophthalmitis", "endophthalmitis|眼内炎"),
    (
        "retinopathy of prematurity",
        "retinopathy of prematurity|rop|早产儿视网膜病变",
    ),
    (
        "familial exudative vitreoretinopathy",
        "familial exudative vitreoretinopathy|fevr|家族性渗出性",
    ),
    ("Coats disease", "coats|coats'|外层渗出性"),
    (
        "macular telangiectasia",
        "macular telangiectasia|mactel|parafoveal telangiectasia|黄斑毛细血管扩张",
    ),
    ("macular dystrophy", "macular dystrophy|黄斑营养不良"),
    ("multifocal choroiditis", "multifocal choroiditis|多灶性脉络膜炎"),
    (
        "white dot syndrome",
        "white dot syndrome|mewds|multiple evanescent white dot|白点综合征",
    ),
    (
        "punctate inner choroidopathy",
        "punctate inner choroidopathy|点状内层脉络膜病变",
    ),
    (
        "ocular trauma",
        "ocular trauma|eye trauma|commotio retinae|眼外伤|视网膜震荡|外伤",
    ),
    ("choroidal rupture", "choroidal rupture|脉络膜破裂"),
    (
        "laser photocoagulation",
        "photocoagulation|laser spots|laser scars|laser treatment|激光光凝|激光斑|光凝斑",
    ),
    ("asteroid hyalosis", "asteroid hyalosis|星状玻璃体"),
    ("tessellated fundus", "tessellated fundus|leopard|leopard-shaped|豹纹状"),
    ("posterior staphyloma", "staphyloma|葡萄肿"),
    ("ocular ischemic syndrome", "ocular ischemic syndrome|眼缺血综合征"),
    ("leukemia", "leukemia|leukaemia|leukemic|白血病"),
];

/// Captions by the categories that they name.
#[derive(Debug, Default, Clone)]
pub(super) struct CategoryCounter {
    counts: BTreeMap<&'static str, u64>,
}

impl CategoryCounter {
    /// Counts the categories that a pair's captions name.
    pub fn add(&mut self, named: &[&'static str]) {
        for category in named {
            *self.counts.entry(category).or_default() += 1;
        }
    }

    /// Categories with their captions, the most frequent first.
    pub fn sorted(&self) -> Vec<(String, u64)> {
        let mut sorted: Vec<_> = self
            .counts
            .iter()
            .map(|(name, &count)| ((*name).to_owned(), count))
            .collect();
        sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sorted
    }
}

/// All spellings in one automaton, and what each belongs to.
struct Spellings {
    set: RegexSet,
    of: Vec<(usize, &'static str)>,
}

fn spellings() -> &'static Spellings {
    static SPELLINGS: OnceLock<Spellings> = OnceLock::new();
    SPELLINGS.get_or_init(|| {
        let of: Vec<(usize, &str)> = CATEGORIES
            .iter()
            .enumerate()
            .flat_map(|(at, (_, spellings))| spellings.split('|').map(move |spelling| (at, spelling)))
            .collect();
        let set = RegexSet::new(of.iter().map(|(_, spelling)| regex::escape(spelling)));
        Spellings {
            set: set.unwrap_or_else(|_| RegexSet::empty()),
            of,
        }
    })
}

/// The categories that any of the captions names, each once, in the order of the list.
pub(super) fn named(captions: &[&str]) -> Vec<&'static str> {
    let Spellings { set, of } = spellings();
    let mut found = BTreeSet::new();
    for caption in captions {
        let text = caption.to_lowercase();
        let here = set.matches(&text).into_iter().map(|at| of[at]);
        found.extend(here.filter(|(_, spelling)| names(&text, spelling)).map(|(at, _)| at));
    }
    found.into_iter().map(|at| CATEGORIES[at].0).collect()
}

/// Whether `text` holds `spelling` as whole words; both in lower case.
fn names(text: &str, spelling: &str) -> bool {
    text.match_indices(spelling).any(|(at, _)| {
        let joined = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let before = text[..at].chars().next_back().is_some_and(joined);
        let after = text[at + spelling.len()..].chars().next().is_some_and(joined);
        let latin = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        !(before && latin(spelling.chars().next()) || after && latin(spelling.chars().next_back()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_whole_words_in_either_language() {
        let mut counter = CategoryCounter::default();
        counter.add(&named(&["Soft drusen and a PED; amdx, non-AMD", "软性玻璃膜疣"]));
        counter.add(&named(&["右眼糖尿病视网膜病变。PDR期"]));
        assert_eq!(spellings().set.len(), spellings().of.len());
        let sorted = counter.sorted();
        assert_eq!(
            sorted,
            [
                ("diabetic retinopathy", 1),
                ("drusen", 1),
                ("pigment epithelial detachment", 1)
            ]
            .map(|(name, count)| (name.to_owned(), count))
        );
    }

    #[test]
    fn the_list_is_lower_case_and_unique() {
        let mut names: Vec<&str> = CATEGORIES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATEGORIES.len());
        for (_, spellings) in CATEGORIES {
            assert_eq!(*spellings, spellings.to_lowercase());
            assert!(spellings.split('|').all(|spelling| !spelling.trim().is_empty()));
        }
    }
}
