//! The input and output of a network's graph.

/// Input and output of a network's ONNX graph, both `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Name of the input.
    pub input: &'static str,
    /// Sizes of a unit, behind the number of units. At most one may be any.
    pub input_shape: &'static [Option<usize>],
    /// Name of the output.
    pub output: &'static str,
    /// Sizes of a unit's result, behind the number of units.
    pub output_shape: &'static [Option<usize>],
}

impl Graph {
    /// The sizes of a unit of so many values.
    ///
    /// # Panics
    /// If no unit has as many.
    pub(super) fn sizes_of(&self, n_values: usize) -> Vec<usize> {
        let known: usize = self.input_shape.iter().flatten().product();
        let sizes: Vec<usize> =
            self.input_shape.iter().map(|size| size.unwrap_or(n_values / known)).collect();
        assert_eq!(sizes.iter().product::<usize>(), n_values, "a unit is as long as the graph's");
        sizes
    }
}
