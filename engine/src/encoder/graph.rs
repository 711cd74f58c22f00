//! The input and output of a network's graph.

/// Input and output of a network's ONNX graph, both `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Name of the input.
    pub input: &'static str,
    /// The dimensions of a unit, which follow the number of units. At most one of them may be variable (`None`).
    pub input_shape: &'static [Option<usize>],
    /// Name of the output.
    pub output: &'static str,
    /// The dimensions of a unit's result, which follow the number of units.
    pub output_shape: &'static [Option<usize>],
}

impl Graph {
    /// Returns the dimensions of a unit with `n_values` values.
    ///
    /// # Panics
    /// If no unit can have that many values.
    pub(super) fn sizes_of(&self, n_values: usize) -> Vec<usize> {
        let known: usize = self.input_shape.iter().flatten().product();
        let sizes: Vec<usize> =
            self.input_shape.iter().map(|size| size.unwrap_or(n_values / known)).collect();
        assert_eq!(sizes.iter().product::<usize>(), n_values, "a unit is as long as the graph's");
        sizes
    }
}
