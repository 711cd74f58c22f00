//! An ONNX graph under construction.

use half::f16;

use super::onnx::{ELEM_TYPE_FLOAT, Message, float_tensor, half_tensor, int, int64_tensor, node};

/// Nodes and initializers, in the order in which they were added.
pub(super) struct GraphBuilder<'a, T: ?Sized> {
    /// The source of the graph's weights.
    pub(super) tensors: &'a T,
    nodes: Vec<Message>,
    initializers: Vec<Message>,
}

impl<'a, T: ?Sized> GraphBuilder<'a, T> {
    /// Creates an empty graph.
    pub(super) fn new(tensors: &'a T) -> Self {
        Self { tensors, nodes: Vec::new(), initializers: Vec::new() }
    }

    /// Adds a node with one output and returns the output's generated name.
    pub(super) fn op(&mut self, op_type: &str, inputs: &[&str], attributes: &[Message]) -> String {
        let output = format!("{}_{}", op_type.to_lowercase(), self.nodes.len());
        self.op_named(op_type, inputs, &output, attributes)
    }

    /// Adds a node with one output of the given name.
    pub(super) fn op_named(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[Message],
    ) -> String {
        self.nodes.push(node(op_type, inputs, &[output], attributes));
        output.to_owned()
    }

    /// Adds a list of integers.
    pub(super) fn int64(&mut self, name: &str, values: &[i64]) -> String {
        self.initializers.push(int64_tensor(name, &[values.len()], values));
        name.to_owned()
    }

    /// Adds an integer.
    pub(super) fn scalar(&mut self, name: &str, value: i64) -> String {
        self.initializers.push(int64_tensor(name, &[], &[value]));
        name.to_owned()
    }

    /// Adds a list of numbers.
    pub(super) fn floats(&mut self, name: &str, values: &[f32]) -> String {
        self.tensor(name, &[values.len()], values)
    }

    /// Adds a tensor of numbers.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.initializers.push(float_tensor(name, shape, values));
        name.to_owned()
    }

    /// Adds weights in 16 bits, which are widened when the graph is loaded.
    pub(super) fn halves(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
        self.initializers.push(half_tensor(name, shape, &halves));
        self.op("Cast", &[name], &[int("to", ELEM_TYPE_FLOAT)])
    }

    /// Encodes the graph: nodes first, then initializers, then input and output.
    pub(super) fn finish(self, name: &str, input: &Message, output: &Message) -> Message {
        let mut graph = Message::default();
        self.nodes.iter().for_each(|node| graph.message(1, node));
        graph.string(2, name);
        self.initializers.iter().for_each(|tensor| graph.message(5, tensor));
        graph.message(11, input);
        graph.message(12, output);
        graph
    }
}
