//! The joint training step, one or several.

use anyhow::Result;
use burn::tensor::{Device, Int, Tensor};

use super::{bundle::Bundle, image::host, train::Trainer};
use crate::{
    model::{
        dropout::Dropout,
        keepfit::{ImageTextBatch, KeepFitBatch, KeepFitModel, StepOutput},
        walk::to_vec,
    },
    optim::NamedGradients,
    weights::{HostTensor, Tensors, load},
};

const MODULES: &[(&str, &str)] = &[
    ("vision", "vision_model.model."),
    ("vision_projection", "vision_model.projection_head."),
    ("text", "text_model.model."),
    ("text_projection", "text_model.projection_head."),
    ("attention", "attention."),
    ("attention_appearance", "attention_appearance."),
    ("appearance_conv", "appearance_conv."),
    ("logit_scale", "logit_scale"),
];

pub fn run(bundle: Bundle, device: &Device) -> Result<Tensors> {
    let mut model = KeepFitModel::init(&bundle.config("")?, 0, device)?;
    load::apply(&mut model, bundle.weights.clone(), &load::Allow::nothing())?;
    let mut output = Tensors::new();
    let mut trainer = Trainer::new(&bundle, &mut model, MODULES)?;
    for step in 0..bundle.steps {
        let batch = bundle.batch(step)?;
        let side = |name: &str| -> Result<ImageTextBatch> {
            Ok(ImageTextBatch {
                images: batch.floats(&format!("{name}.images"), device)?,
                ids: batch.ints(&format!("{name}.input_ids"), device)?,
                mask: batch.ints(&format!("{name}.attention_mask"), device)?,
            })
        };
        let (categories, _) = batch.integers::<1>("public.category")?;
        let input = KeepFitBatch {
            public: side("public")?,
            categories,
            knowledge: Some(side("mm")?),
        };
        model.clamp_logit_scale();
        let mut result = model.forward_step(input, &mut Dropout::off());
        note_losses(&mut trainer, &model, &result);
        if step == 0 {
            output.extend(forward_tensors(&result));
        }
        let moments = std::mem::take(&mut result.moments);
        let gradients = NamedGradients::collect(&mut model, result.total.backward());
        drop(result);
        trainer.step(&mut model, gradients);
        model.update_statistics(moments);
    }
    output.extend(trainer.finish(&mut model)?);
    Ok(output)
}

fn note_losses(trainer: &mut Trainer, model: &KeepFitModel, result: &StepOutput) {
    let terms = [
        ("logit_scale", Some(&model.logit_scale)),
        ("loss/total", Some(&result.total)),
        ("loss/itc_public", Some(&result.itc_public)),
        ("loss/itc_mm", result.knowledge.as_ref().map(|k| &k.itc)),
        ("loss/ek_semantic", result.semantic.as_ref().map(|k| &k.loss)),
        ("loss/ek_appearance", result.appearance.as_ref().map(|k| &k.loss)),
    ];
    for (name, value) in terms {
        if let Some(value) = value {
            trainer.note(name, f64::from(to_vec(value)[0]));
        }
    }
}

fn forward_tensors(result: &StepOutput) -> Tensors {
    let mut tensors = Tensors::new();
    let mut put = |name: &str, tensor: HostTensor| drop(tensors.insert(name.to_owned(), tensor));
    put("embed/public.image", host(&result.public_images.projected));
    put("embed/public.text", host(&result.public_texts.projected));
    put("feature/public.image", host(&result.public_images.features));
    put("feature/public.text", host(&result.public_texts.features));
    put("target", host(&result.target));
    put("logits/public", host(&result.logits_public));
    if let Some(side) = &result.knowledge {
        put("embed/mm.image", host(&side.images.projected));
        put("embed/mm.text", host(&side.texts.projected));
        put("feature/mm.image", host(&side.images.features));
        put("feature/mm.text", host(&side.texts.features));
        put("logits/mm", host(&side.logits));
    }
    for (name, knowledge) in [("semantic", &result.semantic), ("appearance", &result.appearance)] {
        if let Some(knowledge) = knowledge {
            put(&format!("ek/{name}"), host(&knowledge.vectors));
            put(&format!("attn/{name}"), host(&knowledge.weights));
        }
    }
    if let Some(maps) = &result.maps {
        put("quantised/public", host(&maps.public));
        put("quantised/mm", host(&maps.knowledge));
        put("codes/public", codes(&maps.public_codes));
        put("codes/mm", codes(&maps.knowledge_codes));
    }
    tensors
}

fn codes(codes: &Tensor<3, Int>) -> HostTensor {
    let values: Vec<i64> = codes.to_data().iter::<i64>().collect();
    HostTensor::from_i64(codes.dims().to_vec(), &values)
}
