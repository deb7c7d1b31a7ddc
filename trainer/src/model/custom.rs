//! Functions of tensors whose gradient is written by hand, as `torch.autograd.Function` in PyTorch.
//!
//! burn records every tensor operation; a hand-written rule keeps only what its backward pass needs and
//! works on whole steps (a normalisation, an attention) at once.

use burn::{
    backend::{
        Autodiff, AutodiffBackend, Backend, BackendTensor, DispatchAutodiffContext, DispatchKindConversion,
        DispatchTensor, DispatchTensorKind, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

/// A tensor of any rank.
pub type Raw = DispatchTensor;

/// Gradients of the N inputs from the gradient of the output; `needed[i]` says whether input i wants one.
/// All tensors are without a graph.
pub type Rule<const N: usize> = Box<dyn FnOnce(Raw, [bool; N]) -> [Option<Raw>; N] + Send>;

/// Attaches `rule` to `output`, which was computed from `inputs` without a graph.
///
/// When no input records gradients, `output` is returned as it is and `rule` is dropped.
pub fn with_gradient<const N: usize, const D: usize>(inputs: [Raw; N], output: Tensor<D>, rule: Rule<N>) -> Tensor<D> {
    let recording = |input: &Raw| input.autodiff != DispatchAutodiffContext::Disabled;
    let Some(context) = inputs.iter().find(|input| recording(input)).map(|input| input.autodiff) else {
        return output;
    };
    let output = output.into_dispatch();
    let mut attached = match &output.kind {
        DispatchTensorKind::Flex(_) => attach::<Flex, N>(inputs, output, rule),
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        DispatchTensorKind::Cube(_) => attach::<burn::backend::Cube, N>(inputs, output, rule),
        // The output was computed without a graph, so it is never the recording variant.
        _ => unreachable!("a tensor computed without a graph lives on a plain backend"),
    };
    attached.autodiff = context;
    Tensor::from_dispatch(attached)
}

/// Rule as the backward step of a graph node.
struct Custom<const N: usize>(Rule<N>);

impl<const N: usize> std::fmt::Debug for Custom<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Custom")
    }
}

impl<B: Backend, const N: usize> Backward<B, N> for Custom<N>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = ();

    fn backward(self, ops: Ops<(), N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let gradient = <DispatchTensor as DispatchKindConversion<B>>::from_backend(BackendTensor::Float(gradient));
        let needed = ops.parents.each_ref().map(Option::is_some);
        for (parent, value) in ops.parents.into_iter().zip((self.0)(gradient, needed)) {
            if let (Some(parent), Some(value)) = (parent, value) {
                gradients.register::<B>(parent.id, plain::<B>(value));
            }
        }
    }
}

fn attach<B: Backend, const N: usize>(inputs: [Raw; N], output: Raw, rule: Rule<N>) -> Raw
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let output = plain::<B>(output);
    let nodes = inputs.map(|input| recorded::<B>(input).node());
    let attached = match Custom(rule)
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish((), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::from_backend(BackendTensor::Float(attached))
}

fn recorded<B: Backend>(mut tensor: Raw) -> FloatTensor<Autodiff<B>>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    if tensor.autodiff == DispatchAutodiffContext::Disabled {
        return <Autodiff<B> as AutodiffBackend>::from_inner(plain::<B>(tensor));
    }
    // The conversion exists for one checkpointing strategy at a time; a rule works the same under each.
    tensor.autodiff = DispatchAutodiffContext::Enabled(burn::tensor::GradientCheckpointingStrategy::Disabled);
    match <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::try_into_backend(tensor) {
        Ok(BackendTensor::Float(tensor)) => tensor,
        _ => unreachable!("inputs of one operation live on one backend"),
    }
}

fn plain<B: Backend>(tensor: Raw) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    match <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor) {
        Ok(BackendTensor::Float(tensor)) => tensor,
        _ => unreachable!("a rule returns float tensors without a graph, on the backend it was given"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::to_vec;
    use burn::tensor::Device;

    #[test]
    fn a_rule_gives_the_gradient_it_says_to_the_inputs_that_want_one() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([1.0, 2.0], &device).autodiff().require_grad();
        let constant = Tensor::<1>::from_floats([5.0, 7.0], &device);
        let output = x.clone().inner() * constant.clone();
        let factor = constant.clone();
        let rule: Rule<2> = Box::new(move |g, needed| {
            assert_eq!(needed, [true, false]);
            [Some((Tensor::<1>::from_dispatch(g) * factor).into_dispatch()), None]
        });
        let y = with_gradient([x.clone().into_dispatch(), constant.into_dispatch()], output, rule);
        let gradients = (y * 10.0).sum().backward();
        assert_eq!(to_vec(&x.grad(&gradients).unwrap()), [50.0, 70.0]);
    }
}
