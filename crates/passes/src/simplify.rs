//! `simplify`: the rule table ([`crate::rules::RULES`]) and constant folding, to a fixed point.
//!
//! Every rule keeps every bit of every result, NaN, infinities, the sign of zero and the wrapping
//! of whole numbers included; `tests/rules.rs` shows it for each. So there is no `x - x` to 0, no
//! `x + 0` to `x` (it is not for -0), and no reassociation.

use std::collections::HashMap;

use kiln_graph::{Builder, Graph, NodeId};
use kiln_tensor::DType;

use crate::cse::identical;
use crate::fold::Folder;
use crate::pass::{Notes, Pass, PassError};
use crate::rewrite;
use crate::rules::{RULES, Rewrite, Rule};

/// See the module.
pub static PASS: Pass<Graph> =
    Pass { name: "simplify", doc: "apply the rewrite rules to a fixed point", run };

fn run(graph: Graph, notes: &mut Notes) -> Result<Graph, PassError> {
    if rewrite::has_grad(&graph, notes) {
        return Ok(graph);
    }
    let rules = Rules::new(RULES)?;
    let mut folder = Folder::default();
    rewrite::rewrite(&graph, &mut |b, id| rules.apply(b, id).or_else(|| folder.fold(b, id)))
}

/// The graph after one rule alone, to its fixed point, and how often the rule applied.
///
/// # Errors
/// If the rule builds something malformed.
pub fn apply(rule: &'static Rule, graph: &Graph) -> Result<(Graph, usize), PassError> {
    let rules = Rules::new(std::slice::from_ref(rule))?;
    let mut times = 0;
    let graph = rewrite::rewrite(graph, &mut |b, id| rules.apply(b, id).inspect(|_| times += 1))?;
    Ok((graph, times))
}

/// The left sides of patterns, as graphs, and the rules by the operator they begin at.
struct Rules {
    by_op: HashMap<&'static str, Vec<Compiled>>,
    any: Vec<Compiled>,
}

struct Compiled {
    rule: &'static Rule,
    /// The left side of a pattern: its only output is the root.
    left: Option<Graph>,
}

impl Rules {
    fn new(table: &'static [Rule]) -> Result<Rules, PassError> {
        let mut rules = Rules { by_op: HashMap::new(), any: Vec::new() };
        for rule in table {
            match &rule.rewrite {
                Rewrite::Pattern { dtypes, .. } => {
                    for &dtype in *dtypes {
                        let left = rule.left(dtype, [&[]; 3])?;
                        let root = left[left.outputs[0].1].op.name;
                        let list = rules.by_op.entry(root).or_default();
                        list.push(Compiled { rule, left: Some(left) });
                    }
                }
                Rewrite::Node { op: Some(op), .. } => {
                    rules.by_op.entry(op.name).or_default().push(Compiled { rule, left: None });
                }
                Rewrite::Node { op: None, .. } => rules.any.push(Compiled { rule, left: None }),
            }
        }
        Ok(rules)
    }

    /// What the first rule that matches makes of the node.
    fn apply(&self, b: &Builder, id: NodeId) -> Option<NodeId> {
        let named = self.by_op.get(b.inspect(|g| g[id].op.name)).map_or(&[][..], |list| list);
        named.iter().chain(&self.any).find_map(|compiled| {
            let new = match (&compiled.rule.rewrite, &compiled.left) {
                (Rewrite::Pattern { right, .. }, Some(left)) => {
                    let mut bound = [None; 3];
                    let root = left.outputs[0].1;
                    if !b.inspect(|g| matches(left, root, g, id, &mut bound)) {
                        return None;
                    }
                    // Variables the left side does not have, the right side does not use.
                    let [x, y, c] = bound.map(|v| b.var(v.unwrap_or(id)));
                    right(x, y, c)
                }
                (Rewrite::Node { apply, .. }, _) => apply(b.var(id))?,
                (Rewrite::Pattern { .. }, None) => return None,
            };
            // A variable of rank 0 stands for an array only beside one.
            let same = new.id() != id && b.inspect(|g| g[new.id()].ty == g[id].ty);
            same.then(|| new.id())
        })
    }
}

/// The variables of a pattern, as its inputs are named, in order.
pub(crate) const VARIABLES: [&str; 3] = ["x", "y", "c"];

/// Whether node `id` of `graph` looks like node `at` of the pattern, and which nodes its variables
/// stand for. As deep as the pattern.
fn matches(
    pattern: &Graph,
    at: NodeId,
    graph: &Graph,
    id: NodeId,
    bound: &mut [Option<NodeId>; 3],
) -> bool {
    if let Some((name, _)) = pattern.input(at) {
        let Some(slot) = VARIABLES.iter().position(|v| *v == name) else { return false };
        let fits = pattern[at].ty.dtype == graph[id].ty.dtype;
        return fits && *bound[slot].get_or_insert(id) == id;
    }
    let (wanted, node) = (&pattern[at], &graph[id]);
    wanted.op == node.op
        && identical(&wanted.attrs, &node.attrs)
        && (pattern.operands(at).into_iter().zip(graph.operands(id)))
            .all(|(p, g)| matches(pattern, p, graph, g, bound))
}

impl Rule {
    /// The left side as a graph of inputs `x` and `y` of an element type and `c` of bool, with
    /// these shapes. Its only output is the root.
    ///
    /// # Errors
    /// If the rule is no pattern or its left side is malformed.
    pub fn left(&self, dtype: DType, shapes: [&[usize]; 3]) -> Result<Graph, PassError> {
        let Rewrite::Pattern { left, .. } = self.rewrite else {
            return Err(PassError::defect(format!("rule `{}` is no pattern", self.name)));
        };
        let b = Builder::new();
        let [x, y, c] = [(0, dtype), (1, dtype), (2, DType::Bool)]
            .map(|(i, dtype)| b.data(VARIABLES[i], dtype, shapes[i]));
        b.output("root", left(x, y, c));
        Ok(b.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{after, assert_same, count, graph};

    #[test]
    fn rules_feed_each_other_and_folding() {
        let before = graph(|b| {
            let x = b.data("x", DType::F32, &[2, 3]);
            let one = b.full(DType::F32, &[3, 2], 0.5) + b.full(DType::F32, &[3, 2], 0.5);
            let y = (-(-x.transpose(&[1, 0]) * one)).transpose(&[1, 0]);
            vec![y.reshape(&[6]).reshape(&[2, 3]) / 1.0]
        });
        let (g, _) = after(&PASS, before.clone());
        assert_eq!(g.outputs[0].1, g.inputs().next().expect("x"), "{g}");
        assert_same(&before, &g, 0.0);
    }

    #[test]
    fn the_first_example_of_a_rule_that_is_no_pattern_is_no_fixed_point() {
        for rule in RULES {
            let Rewrite::Node { examples, .. } = &rule.rewrite else { continue };
            let before = graph(|b| vec![examples[0](b)]);
            let (once, _) = after(&PASS, before.clone());
            let (twice, _) = after(&PASS, once.clone());
            assert_ne!(before.to_string(), once.to_string(), "{}", rule.name);
            assert_eq!(once.to_string(), twice.to_string(), "{}", rule.name);
        }
    }

    #[test]
    fn gradients_are_left_to_autodiff() {
        let before = graph(|b| {
            let x = b.data("x", DType::F32, &[]);
            let y = -(-x);
            vec![(y * y).grad(y)]
        });
        let (g, notes) = after(&PASS, before.clone());
        assert_eq!(g.to_string(), before.to_string());
        assert_eq!(notes.remarks.len(), 1);
    }

    #[test]
    fn chains_of_100000_operators_take_linear_time() {
        let (g, _) = after(
            &PASS,
            graph(|b| {
                let x = b.data("x", DType::F32, &[2, 3]);
                let flat = (0..50_000).fold(x, |y, i| y.reshape(&[1 + i % 2, 6 / (1 + i % 2)]));
                let turned =
                    (0..50_000).fold(flat.reshape(&[2, 3]), |y, _| y.transpose(&[1, 0]) * 1.0);
                vec![turned]
            }),
        );
        assert_eq!((count(&g, "reshape"), count(&g, "transpose"), g.len()), (0, 0, 1), "{g}");
    }
}
