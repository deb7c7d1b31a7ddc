//! Layers with PyTorch's parameter layout and semantics, and their initialisation.

use burn::tensor::{Device, Tensor, activation, module, ops::ConvOptions};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{
    cpu::{self, product::Sums},
    precision::Precision,
    walk::{Role, Slot, Walk, from_vec, join, to_vec},
};

/// x·Φ(x), the erf form that BERT uses.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if cpu::applies(&x) {
        cpu::layers::gelu(x)
    } else {
        gelu_by_erf(x)
    }
}

/// x·Φ(x) by tensor operations.
///
/// burn's own GELU computes the same forwards, but on GPUs goes backwards by the derivative of the tanh
/// approximation, which is off by some 1e-4.
pub fn gelu_by_erf(x: Tensor<2>) -> Tensor<2> {
    let distribution = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
    x * distribution
}

/// Source of initial weights: seeded, in the order the layers are built.
pub struct Init {
    rng: ChaCha8Rng,
    device: Device,
    precision: Precision,
}

impl Init {
    /// Weights for `device`; the same seed gives the same weights on every device.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            device: device.clone(),
            precision: Precision::F32,
        }
    }

    /// The same, for layers that multiply in `precision`.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// What the layers multiply in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Tensor<D> {
        let count = shape.iter().product();
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            // Box-Muller: two uniforms give two normals.
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * std;
            let (sin, cos) = (std::f64::consts::TAU * self.unit()).sin_cos();
            values.push((radius * cos) as f32);
            values.push((radius * sin) as f32);
        }
        values.truncate(count);
        self.leaf(from_vec(values, shape, &self.device))
    }

    /// Uniform in `[-bound, bound)`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Tensor<D> {
        let count = shape.iter().product();
        let values = (0..count).map(|_| ((2.0 * self.unit() - 1.0) * bound) as f32).collect();
        self.leaf(from_vec(values, shape, &self.device))
    }

    /// All elements equal.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f64) -> Tensor<D> {
        self.leaf(Tensor::full(shape, value, &self.device))
    }

    /// All elements equal, never trained (running statistics).
    pub fn buffer(&self, length: usize, value: f64) -> Tensor<1> {
        Tensor::full([length], value, &self.device)
    }

    /// Kaiming normal with fan-out, as torchvision initialises ResNet convolutions.
    pub fn kaiming(&mut self, shape: [usize; 4]) -> Tensor<4> {
        let fan_out = shape[0] * shape[2] * shape[3];
        self.normal(shape, (2.0 / fan_out as f64).sqrt())
    }

    /// The device weights are made on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn unit(&mut self) -> f64 {
        // 53 random bits, as in the usual conversion to a double in [0, 1).
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn leaf<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if self.device.is_autodiff() {
            tensor.require_grad()
        } else {
            tensor
        }
    }
}

/// y = x Wᵀ + b, weight `[out, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor<2>,
    /// `[out]`
    pub bias: Option<Tensor<1>>,
    /// What it multiplies in.
    pub precision: Precision,
}

impl Linear {
    /// PyTorch's default initialisation: uniform in ±1/√in.
    pub fn init(inputs: usize, outputs: usize, bias: bool, init: &mut Init) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let weight = init.uniform([outputs, inputs], bound);
        let bias = bias.then(|| init.uniform([outputs], bound));
        Self {
            weight,
            bias,
            precision: init.precision(),
        }
    }

    /// BERT's initialisation: normal weights, zero bias.
    pub fn init_normal(inputs: usize, outputs: usize, std: f64, init: &mut Init) -> Self {
        Self {
            weight: init.normal([outputs, inputs], std),
            bias: Some(init.constant([outputs], 0.0)),
            precision: init.precision(),
        }
    }

    /// x `[..., in]` to `[..., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if self.precision == Precision::Bf16 {
            return self.forward_bf16(x);
        }
        if !cpu::applies(&x) {
            return module::linear(x, self.weight.clone().transpose(), self.bias.clone());
        }
        let mut dims = x.dims();
        let [outputs, inputs] = self.weight.dims();
        let rows = dims[..D - 1].iter().product();
        let y = cpu::layers::linear(x.reshape([rows, inputs]), self.weight.clone(), self.bias.clone());
        dims[D - 1] = outputs;
        y.reshape(dims)
    }

    fn forward_bf16<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut dims = x.dims();
        let [outputs, inputs] = self.weight.dims();
        let rows = dims[..D - 1].iter().product();
        let y = self
            .precision
            .matmul(x.reshape([rows, inputs]), self.weight.clone().transpose());
        let y = match &self.bias {
            Some(bias) => y + bias.clone().reshape([1, outputs]),
            None => y,
        };
        dims[D - 1] = outputs;
        y.reshape(dims)
    }
}

impl Walk for Linear {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "weight"), Role::Trained, Slot::Matrix(&mut self.weight));
        if let Some(bias) = &mut self.bias {
            visit(&join(path, "bias"), Role::Trained, Slot::Vector(bias));
        }
    }
}

/// Layer normalisation over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
}

impl LayerNorm {
    /// Scale 1, shift 0.
    pub fn init(width: usize, epsilon: f64, init: &Init) -> Self {
        Self {
            weight: init.constant([width], 1.0),
            bias: init.constant([width], 0.0),
            epsilon,
        }
    }

    /// Normalises `x + skip`, or x alone. `[rows, width]`.
    pub fn forward(&self, x: Tensor<2>, skip: Option<Tensor<2>>) -> Tensor<2> {
        if cpu::applies(&x) {
            return cpu::norm::layer_norm(x, skip, self.weight.clone(), self.bias.clone(), self.epsilon);
        }
        let x = match skip {
            Some(skip) => x + skip,
            None => x,
        };
        module::layer_norm(x, self.weight.clone(), Some(self.bias.clone()), self.epsilon)
    }
}

impl Walk for LayerNorm {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "weight"), Role::Trained, Slot::Vector(&mut self.weight));
        visit(&join(path, "bias"), Role::Trained, Slot::Vector(&mut self.bias));
    }
}

/// Two-dimensional convolution with "same" padding (k/2 on every side) and square kernels.
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[out, in, k, k]`
    pub weight: Tensor<4>,
    /// `[out]`
    pub bias: Option<Tensor<1>>,
    stride: usize,
    precision: Precision,
}

impl Conv {
    /// Without bias, Kaiming normal (ResNet).
    pub fn init(inputs: usize, outputs: usize, kernel: usize, stride: usize, init: &mut Init) -> Self {
        Self {
            weight: init.kaiming([outputs, inputs, kernel, kernel]),
            bias: None,
            stride,
            precision: init.precision(),
        }
    }

    /// With bias, PyTorch's default: uniform in ±1/√(in·k²).
    pub fn init_biased(inputs: usize, outputs: usize, kernel: usize, stride: usize, init: &mut Init) -> Self {
        let bound = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        let weight = init.uniform([outputs, inputs, kernel, kernel], bound);
        Self {
            weight,
            bias: Some(init.uniform([outputs], bound)),
            stride,
            precision: init.precision(),
        }
    }

    /// x `[batch, in, height, width]` to `[batch, out, ⌈height/stride⌉, ⌈width/stride⌉]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_with(x, Sums::Plain)
    }

    /// [`Conv::forward`] before a normalisation and its ReLU: where gradients follow, the CPU adds up in short stretches.
    pub fn forward_before_gate(&self, x: Tensor<4>, stats: &BatchStats) -> Tensor<4> {
        let trains = matches!(stats, BatchStats::Batch(_)) || self.weight.device().is_autodiff();
        self.forward_with(x, if trains { Sums::Halved } else { Sums::Plain })
    }

    fn forward_with(&self, x: Tensor<4>, sums: Sums) -> Tensor<4> {
        if cpu::applies(&x) && self.precision == Precision::F32 {
            self.forward_cpu(x, sums)
        } else {
            self.forward_plain(x)
        }
    }

    fn forward_cpu(&self, x: Tensor<4>, sums: Sums) -> Tensor<4> {
        let [_, _, kernel, _] = self.weight.dims();
        let weight = self.weight.clone();
        let y = match (kernel, self.stride) {
            (1, 1) => cpu::pointwise::pointwise(x, weight, sums),
            (1, 2) => cpu::pointwise::pointwise(cpu::pointwise::every_second(x), weight, sums),
            (_, stride) => cpu::conv::conv2d(x, weight, stride, kernel / 2, sums),
        };
        match &self.bias {
            Some(bias) => cpu::pointwise::add_bias(y, bias.clone()),
            None => y,
        }
    }

    fn forward_plain(&self, x: Tensor<4>) -> Tensor<4> {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        if kernel > 1 {
            let padding = kernel / 2;
            let options = ConvOptions::new([self.stride; 2], [padding; 2], [1, 1], 1);
            if self.precision == Precision::F32 {
                return module::conv2d(x, self.weight.clone(), self.bias.clone(), options);
            }
            let (x, weight) = (self.precision.factor(x), self.precision.factor(self.weight.clone()));
            let y = self.precision.result(module::conv2d(x, weight, None, options));
            return match &self.bias {
                Some(bias) => y + bias.clone().reshape([1, outputs, 1, 1]),
                None => y,
            };
        }
        // A 1×1 convolution is a matrix product over the channels.
        let x = if self.stride > 1 { every(x, self.stride) } else { x };
        let [batch, _, height, width] = x.dims();
        let weight = self.weight.clone().reshape([1, outputs, inputs]);
        let y = self
            .precision
            .matmul(weight, x.reshape([batch, inputs, height * width]));
        let y = match &self.bias {
            Some(bias) => y + bias.clone().reshape([1, outputs, 1]),
            None => y,
        };
        y.reshape([batch, outputs, height, width])
    }
}

impl Walk for Conv {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "weight"), Role::Trained, Slot::Kernel(&mut self.weight));
        if let Some(bias) = &mut self.bias {
            visit(&join(path, "bias"), Role::Trained, Slot::Vector(bias));
        }
    }
}

/// Every `stride`-th row and column, starting at 0.
fn every(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let step = stride as isize;
    x.slice(burn::tensor::s![.., .., ..;step, ..;step])
}

/// Which statistics batch normalisation uses in a forward pass.
pub enum BatchStats<'a> {
    /// Running statistics (evaluation).
    Running,
    /// The batch's own (training); they are appended here in forward order, for [`BatchNorm::update`].
    Batch(&'a mut Vec<BatchMoments>),
}

/// Mean and variance of one batch in one normalisation layer.
pub struct BatchMoments {
    /// `[channels]`
    pub mean: Tensor<1>,
    /// `[channels]`, divided by n (biased)
    pub variance: Tensor<1>,
    /// Elements per channel, n.
    pub count: usize,
}

impl BatchMoments {
    /// The same on `device`.
    pub fn to_device(self, device: &Device) -> Self {
        Self {
            mean: self.mean.to_device(device),
            variance: self.variance.to_device(device),
            count: self.count,
        }
    }
}

/// Batch normalisation over (batch, height, width), PyTorch's running-statistics rule.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    running_mean: Tensor<1>,
    running_var: Tensor<1>,
    num_batches_tracked: i64,
    epsilon: f64,
    momentum: f64,
}

impl BatchNorm {
    /// Scale 1, shift 0, running mean 0 and variance 1.
    pub fn init(channels: usize, config: &super::resnet::BatchNormConfig, init: &Init) -> Self {
        Self {
            weight: init.constant([channels], 1.0),
            bias: init.constant([channels], 0.0),
            running_mean: init.buffer(channels, 0.0),
            running_var: init.buffer(channels, 1.0),
            num_batches_tracked: 0,
            epsilon: config.eps,
            momentum: config.momentum,
        }
    }

    /// Normalises x, adds `skip` and applies ReLU where asked. x and skip `[batch, channels, height, width]`.
    pub fn forward(&self, x: Tensor<4>, skip: Option<Tensor<4>>, relu: bool, stats: &mut BatchStats) -> Tensor<4> {
        let [batch, _, height, width] = x.dims();
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let on_cpu = cpu::applies(&x);
        let y = match stats {
            BatchStats::Batch(moments) => {
                let count = batch * height * width;
                if on_cpu {
                    let affine = [weight, bias];
                    let (y, found) = cpu::batch_norm::batch_norm(x, skip, affine, None, self.epsilon, relu);
                    moments.push(BatchMoments {
                        mean: found.mean,
                        variance: found.variance,
                        count,
                    });
                    return y;
                }
                let result = module::batch_norm_train(x, weight, bias, self.epsilon);
                moments.push(BatchMoments {
                    mean: result.mean.inner(),
                    variance: result.variance.inner(),
                    count,
                });
                result.output
            }
            BatchStats::Running => {
                if on_cpu && x.is_autodiff() {
                    let running = Some([&self.running_mean, &self.running_var]);
                    return cpu::batch_norm::batch_norm(x, skip, [weight, bias], running, self.epsilon, relu).0;
                }
                if on_cpu {
                    return cpu::batch_norm::batch_norm_eval(x, skip, &self.affine(), relu);
                }
                let (mean, variance) = (self.running_mean.clone(), self.running_var.clone());
                module::batch_norm(x, weight, bias, mean, variance, self.epsilon)
            }
        };
        let y = match skip {
            Some(skip) => y + skip,
            None => y,
        };
        if relu { activation::relu(y) } else { y }
    }

    /// What normalising with the running statistics does to each channel.
    fn affine(&self) -> Vec<cpu::batch_norm::Affine> {
        let (weight, bias) = (to_vec(&self.weight), to_vec(&self.bias));
        let (mean, variance) = (to_vec(&self.running_mean), to_vec(&self.running_var));
        (0..weight.len())
            .map(|c| {
                let variance = f64::from(variance[c]) + self.epsilon;
                cpu::batch_norm::Affine::new(f64::from(mean[c]), variance, weight[c], bias[c])
            })
            .collect()
    }

    /// Moves the running statistics towards one batch's: `r ← (1−m)·r + m·batch`, the variance
    /// with the n/(n−1) correction.
    pub fn update(&mut self, moments: BatchMoments) {
        let unbias = moments.count as f64 / (moments.count.max(2) - 1) as f64;
        let blend = |running: &Tensor<1>, batch: Tensor<1>| {
            let autodiff = running.is_autodiff();
            let moved = running.clone().inner() * (1.0 - self.momentum) + batch * self.momentum;
            if autodiff { moved.autodiff() } else { moved }
        };
        self.running_mean = blend(&self.running_mean, moments.mean);
        self.running_var = blend(&self.running_var, moments.variance * unbias);
        self.num_batches_tracked += 1;
    }
}

impl Walk for BatchNorm {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "weight"), Role::Trained, Slot::Vector(&mut self.weight));
        visit(&join(path, "bias"), Role::Trained, Slot::Vector(&mut self.bias));
        visit(
            &join(path, "running_mean"),
            Role::Buffer,
            Slot::Vector(&mut self.running_mean),
        );
        visit(
            &join(path, "running_var"),
            Role::Buffer,
            Slot::Vector(&mut self.running_var),
        );
        visit(
            &join(path, "num_batches_tracked"),
            Role::Buffer,
            Slot::Counter(&mut self.num_batches_tracked),
        );
    }
}
