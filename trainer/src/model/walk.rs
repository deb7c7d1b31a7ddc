//! One way to list a model's tensors under the reference key names.
//!
//! Every layer passes its tensors to a visitor together with their key
//! (`vision_model.model.layer1.0.conv1.weight`, ...). Loading, saving, the
//! optimiser, gradient norms and the parity report all go through [`Walk`], so
//! a name is written once, in the layer that owns the tensor.

use burn::backend::DispatchTensor;
use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// What training does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives gradients and is updated by the optimiser.
    Trained,
    /// Weight that is kept as it was loaded (the codebook of the KeepFIT stage).
    Frozen,
    /// State that the forward pass updates (running statistics).
    Buffer,
}

/// A tensor of a model, by its rank; `Scalar` has shape `[]` in files and `[1]` in memory.
pub enum Slot<'a> {
    /// Shape `[]` in files.
    Scalar(&'a mut Tensor<1>),
    /// Shape `[n]`.
    Vector(&'a mut Tensor<1>),
    /// Shape `[out, in]`.
    Matrix(&'a mut Tensor<2>),
    /// Shape `[out, in, height, width]`.
    Kernel(&'a mut Tensor<4>),
    /// A 64-bit count, shape `[]` in files (`num_batches_tracked`).
    Counter(&'a mut i64),
}

/// Calls `$body` with `$tensor` bound to the float tensor in `$slot`, whatever its rank.
macro_rules! with_tensor {
    ($slot:expr, $tensor:ident => $body:expr, counter $count:ident => $other:expr) => {
        match $slot {
            Slot::Scalar($tensor) | Slot::Vector($tensor) => $body,
            Slot::Matrix($tensor) => $body,
            Slot::Kernel($tensor) => $body,
            Slot::Counter($count) => $other,
        }
    };
}

impl Slot<'_> {
    /// Shape as written to files.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Slot::Scalar(_) | Slot::Counter(_) => vec![],
            Slot::Vector(t) => t.dims().to_vec(),
            Slot::Matrix(t) => t.dims().to_vec(),
            Slot::Kernel(t) => t.dims().to_vec(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is an integer counter.
    pub fn is_counter(&self) -> bool {
        matches!(self, Slot::Counter(_))
    }

    /// Values in row-major order; `None` for a counter.
    pub fn values(&self) -> Option<Vec<f32>> {
        match self {
            Slot::Scalar(t) | Slot::Vector(t) => Some(to_vec(&**t)),
            Slot::Matrix(t) => Some(to_vec(&**t)),
            Slot::Kernel(t) => Some(to_vec(&**t)),
            Slot::Counter(_) => None,
        }
    }

    /// Replaces the values, keeping shape, device and gradient flag. `values` has [`Slot::len`] elements.
    pub fn set_values(&mut self, values: Vec<f32>) {
        with_tensor!(self, t => replace(t, values), counter _c => ())
    }

    /// Leaves the graph: the same values as a tensor of the plain device, which is never trained.
    pub fn to_plain(&mut self) {
        with_tensor!(self, t => **t = (**t).clone().inner(), counter _c => ())
    }

    /// Moves the tensor to `device`, as a fresh graph leaf with the old gradient flag.
    pub fn to_device(&mut self, device: &Device) {
        with_tensor!(self, t => {
            let moved = (**t).clone().inner().to_device(&device.clone().without_autodiff());
            **t = as_leaf(moved, t);
        }, counter _c => ())
    }

    /// A plain tensor becomes a fresh graph leaf that receives gradients.
    pub fn to_leaf(&mut self) {
        with_tensor!(self, t => **t = (**t).clone().inner().autodiff().require_grad(), counter _c => ())
    }

    /// The tensor with its place in the graph, whatever its rank; `None` for a counter.
    pub fn raw(&self) -> Option<DispatchTensor> {
        match self {
            Slot::Scalar(t) | Slot::Vector(t) => Some((**t).clone().into_dispatch()),
            Slot::Matrix(t) => Some((**t).clone().into_dispatch()),
            Slot::Kernel(t) => Some((**t).clone().into_dispatch()),
            Slot::Counter(_) => None,
        }
    }

    /// Takes this tensor's gradient out of `gradients`, in its own shape.
    pub fn take_raw_gradient(&self, gradients: &mut Gradients) -> Option<DispatchTensor> {
        if !self.is_recording() {
            return None;
        }
        match self {
            Slot::Scalar(t) | Slot::Vector(t) => t.grad_remove(gradients).map(Tensor::into_dispatch),
            Slot::Matrix(t) => t.grad_remove(gradients).map(Tensor::into_dispatch),
            Slot::Kernel(t) => t.grad_remove(gradients).map(Tensor::into_dispatch),
            Slot::Counter(_) => None,
        }
    }

    /// Whether the tensor can receive gradients.
    pub fn is_recording(&self) -> bool {
        match self {
            Slot::Scalar(t) | Slot::Vector(t) => t.is_autodiff(),
            Slot::Matrix(t) => t.is_autodiff(),
            Slot::Kernel(t) => t.is_autodiff(),
            Slot::Counter(_) => false,
        }
    }

    /// Takes this tensor's gradient out of `gradients`, flattened to one dimension.
    pub fn take_gradient(&self, gradients: &mut Gradients) -> Option<Tensor<1>> {
        if !self.is_recording() {
            return None;
        }
        match self {
            Slot::Scalar(t) | Slot::Vector(t) => t.grad_remove(gradients),
            Slot::Matrix(t) => t.grad_remove(gradients).map(|g| g.flatten(0, 1)),
            Slot::Kernel(t) => t.grad_remove(gradients).map(|g| g.flatten(0, 3)),
            Slot::Counter(_) => None,
        }
    }

    /// The tensor without its graph, flattened to one dimension; `None` for a counter.
    pub fn flat(&self) -> Option<Tensor<1>> {
        match self {
            Slot::Scalar(t) | Slot::Vector(t) => Some((*t).clone().inner()),
            Slot::Matrix(t) => Some((*t).clone().inner().flatten(0, 1)),
            Slot::Kernel(t) => Some((*t).clone().inner().flatten(0, 3)),
            Slot::Counter(_) => None,
        }
    }

    /// Moves the values to the host without a copy where possible; the tensor is empty until
    /// [`Slot::put_host`] gives it values of the same shape. `None` for a counter.
    pub(crate) fn take_host(&mut self) -> Option<TensorData> {
        with_tensor!(self, t => Some(take(t)), counter _c => None)
    }

    /// Gives back what [`Slot::take_host`] took, on the same device and with the same gradient flag.
    pub(crate) fn put_host(&mut self, data: TensorData) {
        with_tensor!(self, t => {
            let fresh = Tensor::from_data(data, &t.device().without_autodiff());
            **t = as_leaf(fresh, t);
        }, counter _c => ())
    }

    /// Replaces the tensor by a flat one of the same length, as a fresh graph leaf with the old gradient flag.
    pub fn set_flat(&mut self, flat: Tensor<1>) {
        with_tensor!(self, t => {
            let shape = t.dims();
            **t = as_leaf(flat.reshape(shape), t);
        }, counter _c => ())
    }
}

/// A model, or a part of one, that can list its tensors.
pub trait Walk {
    /// Calls `visit(key, role, slot)` for every tensor, in a fixed order. `path` is the prefix of the keys.
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot));

    /// [`Walk::walk`] from the root.
    fn each(&mut self, mut visit: impl FnMut(&str, Role, Slot))
    where
        Self: Sized,
    {
        self.walk("", &mut visit);
    }

    /// A copy that records no gradients; it shares the values.
    fn plain(&self) -> Self
    where
        Self: Sized + Clone,
    {
        let mut copy = self.clone();
        copy.each(|_, _, mut slot| slot.to_plain());
        copy
    }

    /// A copy on `device`, with its own graph leaves; it shares the values where the device is the same.
    fn on_device(&self, device: &Device) -> Self
    where
        Self: Sized + Clone,
    {
        let mut copy = self.clone();
        copy.each(|_, _, mut slot| slot.to_device(device));
        copy
    }

    /// Number of elements that training changes; 0 on a device without gradients.
    fn trained_elements(&mut self) -> usize
    where
        Self: Sized,
    {
        let mut count = 0;
        self.each(|_, role, slot| {
            if role == Role::Trained && slot.is_recording() {
                count += slot.len();
            }
        });
        count
    }
}

/// Joins a prefix and a field name with a dot.
pub fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Host copy of a float tensor in row-major order.
pub fn to_vec<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    // A finished tensor of a working device can always be read back.
    tensor
        .to_data()
        .try_to_vec::<f32>()
        .expect("a float tensor is f32 on every device we build")
}

/// Float tensor from host values.
pub fn from_vec<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Integer tensor from host values.
pub fn ints<const D: usize>(values: Vec<i64>, shape: [usize; D], device: &Device) -> Tensor<D, burn::tensor::Int> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn take<const D: usize>(tensor: &mut Tensor<D>) -> TensorData {
    let device = tensor.device().without_autodiff();
    let empty = as_leaf(Tensor::zeros([0; D], &device), tensor);
    std::mem::replace(tensor, empty).inner().into_data()
}

fn replace<const D: usize>(tensor: &mut Tensor<D>, values: Vec<f32>) {
    let device = tensor.device().without_autodiff();
    let fresh = from_vec(values, tensor.dims(), &device);
    *tensor = as_leaf(fresh, tensor);
}

/// Gives `fresh` the autodiff context and gradient flag of `like`.
fn as_leaf<const D: usize>(fresh: Tensor<D>, like: &Tensor<D>) -> Tensor<D> {
    if like.is_autodiff() {
        fresh.inner().autodiff().set_require_grad(like.is_require_grad())
    } else {
        fresh.inner()
    }
}
