//! What a classifier ends in: scores, probabilities, the most probable class.
//!
//! The protocol ends with scores; the client makes probabilities of them by a softmax. So a softmax at the end of a
//! file is left out, and the logistic function of one score z becomes the softmax of two, since
//! 1 / (1 + e^−z) = e^z / (e^0 + e^z).

use gelu_nn::Activation;

use super::{Act, Lowering, Stop, Value, refuse};
use crate::error::Unsupported;
use crate::graph::Node;

/// How a network ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The step that computes the scores.
    pub(crate) step: usize,
    /// Whether it computes one score z, which stands for the two scores 0 and z.
    pub(crate) is_logistic: bool,
    pub(crate) outputs: Outputs,
}

/// What a file's own output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// One score for each class, of any size.
    Scores,
    /// Probabilities.
    Probabilities,
    /// Natural logarithms of probabilities.
    LogProbabilities,
}

impl Ending {
    /// Probabilities by a softmax of the scores.
    pub(super) fn softmax(step: usize) -> Self {
        Self { step, is_logistic: false, outputs: Outputs::Probabilities }
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn softmax(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let act = self.settled(node, 0)?;
        let default = if self.graph.opset < 13 { 1 } else { -1 };
        let axis = node.integer("axis", default);
        if act.shape().len() != 1 || ![1, -1].contains(&axis) {
            return refuse(format!("along axis {axis} of a tensor of shape {:?}", act.shape()));
        }
        if !act.is_in_order() {
            return refuse("takes the scores in another order than they are computed in");
        }
        let outputs = match node.operator.as_str() {
            "Softmax" => Outputs::Probabilities,
            _ => Outputs::LogProbabilities,
        };
        Ok(Value::Probabilities(Ending { outputs, ..Ending::softmax(act.step) }))
    }

    /// 1 − p and p.
    pub(super) fn two_classes(
        &mut self,
        node: &'a Node,
        first: &Act,
        second: &Act,
    ) -> Result<Value, Stop> {
        let sigmoid = |z| Activation::Sigmoid.value(z);
        let is_pair = first.step == second.step
            && first.shape() == [1]
            && second.shape() == [1]
            && first.curve.is(|z| sigmoid(-z))
            && second.curve.is(sigmoid);
        match is_pair && [1, -1].contains(&node.integer("axis", 0)) {
            true => Ok(Value::Probabilities(Ending {
                is_logistic: true,
                ..Ending::softmax(first.step)
            })),
            false => refuse("joins computed tensors; only 1 − p and p of one probability p may be"),
        }
    }

    pub(super) fn arg_max(&mut self, node: &'a Node) -> Result<Value, Stop> {
        if ![1, -1].contains(&node.integer("axis", 0)) || node.integer("select_last_index", 0) != 0
        {
            return refuse("must be along the classes, the first of equals");
        }
        match self.value(node, 0)? {
            Value::Probabilities(ending) => Ok(Value::Label(*ending)),
            Value::Act(_) => {
                let act = self.settled(node, 0)?;
                match act.shape().len() == 1 && act.is_in_order() {
                    true => Ok(Value::Label(Ending {
                        outputs: Outputs::Scores,
                        ..Ending::softmax(act.step)
                    })),
                    false => refuse(format!("of a tensor of shape {:?}", act.shape())),
                }
            }
            _ => refuse("takes a constant"),
        }
    }

    /// Probabilities with the names of their classes.
    pub(super) fn zip_map(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let value = self.value(node, 0)?.clone();
        let Some(classes) = node.classes("classlabels_strings", "classlabels_int64s")? else {
            return refuse("it names no classes");
        };
        let Value::Probabilities(_) = value else { return refuse("takes no probabilities") };
        let count = classes.len();
        self.name_classes(classes, count)?;
        Ok(value)
    }

    /// Probabilities whose sum is made 1, which it is.
    pub(super) fn normalizer(&mut self, node: &'a Node) -> Result<Value, Stop> {
        match self.value(node, 0)? {
            Value::Probabilities(ending) if node.word("norm", "MAX") == "L1" => {
                Ok(Value::Probabilities(*ending))
            }
            _ => refuse("only probabilities can be made to sum to 1 (L1)"),
        }
    }

    /// The name of the most probable class, taken from a list.
    pub(super) fn class_names(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let names = self.constant(node, 0)?.to_words();
        let label = self.value(node, 1)?.clone();
        let (Some(names), Value::Label(_)) = (names, &label) else {
            return refuse("takes something else than names of classes and the most probable one");
        };
        let count = names.len();
        self.name_classes(names, count)?;
        Ok(label)
    }

    /// Keeps the names of the classes, which must always be the same.
    pub(super) fn name_classes(&mut self, names: Vec<String>, count: usize) -> Result<(), Stop> {
        if names.len() != count || self.classes.as_ref().is_some_and(|known| *known != names) {
            return refuse("names the classes otherwise than another node");
        }
        self.classes = Some(names);
        Ok(())
    }

    /// How all outputs of the file end, or `None` when something was refused.
    pub(super) fn ending(&mut self) -> Option<Ending> {
        let mut endings = Vec::new();
        for name in &self.graph.outputs {
            let mut refuse = |why: String| {
                let (node, operator) = (name.clone(), "Output".to_owned());
                self.refused.push(Unsupported { node, operator, why });
            };
            let ending = match self.values.get(name.as_str()).cloned() {
                Some(Value::Probabilities(ending)) => Some((2, ending)),
                Some(Value::Label(ending)) => Some((0, ending)),
                Some(Value::Act(act)) => self.of_scores(name, &act).map(|ending| (1, ending)),
                Some(Value::Constant(_)) => {
                    refuse("it is a constant".into());
                    None
                }
                Some(Value::Cells(_)) => {
                    refuse("it is the sample itself".into());
                    None
                }
                // Whatever it needs was refused, or is not there.
                Some(Value::Unknown) => None,
                None => {
                    refuse("it is computed nowhere".into());
                    None
                }
            };
            endings.extend(ending);
        }
        let &(_, best) = endings.iter().max_by_key(|(rank, _)| *rank)?;
        if let Some((_, other)) = endings.iter().find(|(_, ending)| ending.step != best.step) {
            let steps = [best, *other].map(|ending| self.steps[ending.step].name.clone());
            let (node, operator) = (self.graph.outputs.join(", "), "Output".to_owned());
            let why = format!(
                "the outputs are of different scores, those of {} and of {}",
                steps[0], steps[1]
            );
            self.refused.push(Unsupported { node, operator, why });
        }
        let scores = self.steps[best.step].shape.features();
        let count = if best.is_logistic { 2 } else { scores };
        if let Some(names) = self.classes.as_ref().filter(|names| names.len() != count) {
            let (node, operator) = (self.graph.outputs.join(", "), "Output".to_owned());
            let why = format!("there are {} names for {count} classes", names.len());
            self.refused.push(Unsupported { node, operator, why });
        }
        Some(best)
    }

    fn of_scores(&mut self, name: &str, act: &Act) -> Option<Ending> {
        let why = match act.shape() {
            _ if !act.pads.is_empty() || !act.is_in_order() => {
                "it is in another order than it is computed in".to_owned()
            }
            [1] if act.curve.activation() == Some(Activation::Sigmoid) => {
                return Some(Ending { is_logistic: true, ..Ending::softmax(act.step) });
            }
            [1] => "one number is a regression, or a score of two classes: end it with a sigmoid if it is that".into(),
            [_] if act.curve.activation() == Some(Activation::Sigmoid) => {
                "independent probabilities of several classes; one class a sample is supported (softmax)".into()
            }
            [_] => match self.settle(act, name) {
                Ok(act) => {
                    return Some(Ending { outputs: Outputs::Scores, ..Ending::softmax(act.step) });
                }
                Err(Stop::Refused(why)) => why,
                Err(Stop::Unknown) => return None,
            },
            shape => format!("it has shape {shape:?}, must be one score for each class"),
        };
        self.refused.push(Unsupported { node: name.to_owned(), operator: "Output".into(), why });
        None
    }
}
