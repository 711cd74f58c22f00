//! Reads the weights of the ONNX file. If they reproduce the file's bytes, the file holds this graph and no other.

use super::network::{BLOCKS, BatchNorm, Bias, CampplusSource, network};
use crate::encoder::EncoderError;
use crate::encoder::native::{
    CampplusWeights, ConvolutionWeights, DenseBlockWeights, MaskedLayerWeights, NetworkWeights, NormWeights,
    ResidualWeights,
};
use crate::models::error::ConvertError;
use crate::models::onnx::Stored;

/// Channels of the head, and of a dense layer's parts.
const HEAD: usize = 32;
const NARROW: usize = 128;
const MASK_HIDDEN: usize = 64;
const GROWTH: usize = 32;

/// Reads a file that `model convert` has written. Rejects any other graph, even one with the same weights.
pub(super) fn read(onnx: &[u8]) -> Result<NetworkWeights, EncoderError> {
    let stored = Stored::from_file(onnx);
    let weights = stored.read(weights)?;
    stored.check_graph(&stored.read(|stored| network(stored))?, &weights.metadata)?;
    Ok(NetworkWeights::Campplus(Box::new(weights)))
}

impl CampplusSource for Stored<'_> {
    fn convolution(&self, weight: &str, bias: Bias<'_>) -> Result<ConvolutionWeights, ConvertError> {
        let (shape, values) = self.halves(weight)?;
        let bias = match bias {
            Bias::None => None,
            Bias::Tensor(_) | Bias::BatchNorm(_) => Some(self.floats(&format!("{weight}.bias"))?),
        };
        Ok(ConvolutionWeights { shape, values, bias })
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        self.floats(name)
    }
}

/// Finds the weights by their names and checks that they have the network's shapes.
fn weights(stored: &Stored<'_>) -> Result<CampplusWeights, ConvertError> {
    let conv = |name: &str, shape: &[usize], has_bias: bool| {
        let bias = if has_bias { Bias::Tensor("") } else { Bias::None };
        let found = stored.convolution(name, bias)?;
        let is_right = found.shape == shape
            && found.values.len() == shape.iter().product::<usize>()
            && found.bias.as_ref().is_none_or(|bias| bias.len() == shape[0]);
        if is_right { Ok(found) } else { Err(ConvertError::Tensor(name.to_owned())) }
    };
    let norm = |name: &str, n_channels: usize| {
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            let values = stored.floats(&name)?;
            if values.len() == n_channels { Ok(values) } else { Err(ConvertError::Tensor(name)) }
        };
        let [weight, bias] = [part("weight")?, part("bias")?];
        let [mean, variance] = [part("running_mean")?, part("running_var")?];
        let BatchNorm { scale, shift } = BatchNorm::new([&weight, &bias, &mean, &variance]);
        let single = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Ok::<_, ConvertError>(NormWeights { scale: single(scale), shift: single(shift) })
    };
    let residual = |(name, halves): (&str, bool)| {
        let kernel = [HEAD, HEAD, 3, 3];
        let shortcut = || conv(&format!("{name}.shortcut.0.weight"), &[HEAD, HEAD, 1, 1], true);
        Ok(ResidualWeights {
            first: conv(&format!("{name}.conv1.weight"), &kernel, true)?,
            second: conv(&format!("{name}.conv2.weight"), &kernel, true)?,
            shortcut: halves.then(shortcut).transpose()?,
        })
    };
    let layer = |name: &str, n_channels: usize| {
        let mask = format!("{name}.cam_layer");
        Ok(MaskedLayerWeights {
            norm: norm(&format!("{name}.nonlinear1.batchnorm"), n_channels)?,
            narrow: conv(&format!("{name}.linear1.weight"), &[NARROW, n_channels, 1], true)?,
            local: conv(&format!("{mask}.linear_local.weight"), &[GROWTH, NARROW, 3], false)?,
            mask_hidden: conv(&format!("{mask}.linear1.weight"), &[MASK_HIDDEN, NARROW, 1], true)?,
            mask: conv(&format!("{mask}.linear2.weight"), &[GROWTH, MASK_HIDDEN, 1], true)?,
        })
    };
    let mut n_channels = NARROW;
    let block = |(i, (n_layers, dilation)): (usize, (usize, u64))| {
        let layers = (1..=n_layers).map(|number| {
            let found = layer(&format!("xvector.block{}.tdnnd{number}", i + 1), n_channels);
            n_channels += GROWTH;
            found
        });
        let layers = layers.collect::<Result<_, ConvertError>>()?;
        let transit = format!("xvector.transit{}", i + 1);
        let is_last = i + 1 == BLOCKS.len();
        let norm = norm(&format!("{transit}.nonlinear.batchnorm"), n_channels)?;
        let shape = [n_channels / 2, n_channels, 1];
        n_channels /= 2;
        let transit = conv(&format!("{transit}.linear.weight"), &shape, is_last)?;
        Ok(DenseBlockWeights { dilation: dilation as usize, layers, norm, transit })
    };
    let blocks = BLOCKS.into_iter().enumerate().map(block).collect::<Result<_, ConvertError>>()?;
    let residuals = [
        ("head.layer1.0", true),
        ("head.layer1.1", false),
        ("head.layer2.0", true),
        ("head.layer2.1", false),
    ];
    Ok(CampplusWeights {
        first: conv("head.conv1.weight", &[HEAD, 1, 3, 3], true)?,
        residuals: residuals.into_iter().map(residual).collect::<Result<_, ConvertError>>()?,
        last: conv("head.conv2.weight", &[HEAD, HEAD, 3, 3], true)?,
        time: conv("xvector.tdnn.linear.weight", &[NARROW, 320, 5], true)?,
        blocks,
        embedding: conv("xvector.dense.linear.weight", &[192, 1_024, 1], true)?,
        metadata: stored.metadata()?,
    })
}
