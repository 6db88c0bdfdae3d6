//! Every rewrite rule keeps every bit: both sides of each are evaluated on random arrays with NaN,
//! infinities, both zeros and the extreme whole numbers among the elements.

use std::collections::{BTreeMap, BTreeSet};

use kiln_graph::eval::{Value, evaluate};
use kiln_graph::{Builder, Graph};
use kiln_passes::rules::{RULES, Rewrite, Rule};
use kiln_passes::simplify;
use kiln_tensor::DType;

/// Arrays are drawn this often for each example.
const DRAWS: u64 = 20;

/// Numbers whose arithmetic has exceptions.
const SPECIAL: [f64; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f32::MAX as f64,
    f32::MIN as f64,
    f32::MIN_POSITIVE as f64,
    -1.401_298_464_324_817e-45,
    16_777_217.0,
];

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn element(&mut self, dtype: DType) -> f64 {
        let special = self.next().is_multiple_of(2);
        let word = self.next();
        match dtype {
            DType::F32 if special => f64::from(SPECIAL[word as usize % SPECIAL.len()] as f32),
            DType::F32 => f64::from(f32::from_bits(word as u32)),
            DType::I32 if special => {
                [0, 1, -1, i32::MIN, i32::MAX].map(f64::from)[word as usize % 5]
            }
            DType::I32 => f64::from(word as i32),
            DType::Bool => (word % 2) as f64,
        }
    }

    fn inputs(&mut self, graph: &Graph) -> BTreeMap<String, Value> {
        graph
            .inputs()
            .filter_map(|id| {
                let ty = &graph[id].ty;
                let data = (0..ty.shape.elements()).map(|_| self.element(ty.dtype)).collect();
                let value = Value { shape: ty.shape.clone(), data };
                graph.input(id).map(|(name, _)| (name.to_owned(), value))
            })
            .collect()
    }
}

/// What to try a rule on.
fn examples(rule: &Rule) -> Vec<Graph> {
    let array: &[usize] = &[3, 5];
    match &rule.rewrite {
        Rewrite::Pattern { dtypes, .. } => {
            let shapes: [[&[usize]; 3]; 4] =
                [[array; 3], [array, &[], array], [&[], array, &[]], [&[]; 3]];
            dtypes
                .iter()
                .flat_map(|&dtype| shapes.map(|s| rule.left(dtype, s).expect("a well-formed side")))
                .collect()
        }
        Rewrite::Node { examples, .. } => examples
            .iter()
            .map(|example| {
                let b = Builder::new();
                let root = example(&b);
                b.output("root", root);
                b.finish().expect("a well-formed example")
            })
            .collect(),
    }
}

fn bits(value: &Value) -> Vec<u64> {
    let canonical = |&x: &f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
    value.data.iter().map(canonical).collect()
}

#[test]
fn both_sides_of_every_rule_are_equal_bit_for_bit() {
    let mut random = Random(7);
    for rule in RULES {
        let examples = examples(rule);
        assert!(!examples.is_empty(), "rule `{}` has no example", rule.name);
        for before in examples {
            kiln_graph::verify(&before).expect("a well-formed example");
            let (after, times) = simplify::apply(rule, &before).expect("a well-formed graph");
            assert!(times > 0, "rule `{}` does not apply to\n{before}", rule.name);
            kiln_graph::verify(&after).expect("a well-formed graph");
            for _ in 0..DRAWS {
                let inputs = random.inputs(&before);
                let [left, right] = [&before, &after]
                    .map(|g| evaluate(g, &inputs).expect("inputs fit").outputs["root"].clone());
                assert_eq!(left.shape, right.shape, "rule `{}`", rule.name);
                assert_eq!(
                    bits(&left),
                    bits(&right),
                    "rule `{}` on {inputs:?}: {left:?} became {right:?}\n{before}\n{after}",
                    rule.name
                );
            }
        }
    }
}

#[test]
fn rule_names_are_unique() {
    let names: BTreeSet<&str> = RULES.iter().map(|r| r.name).collect();
    assert_eq!(names.len(), RULES.len());
}

/// What must not be simplified, with the value that shows why.
#[test]
fn no_rule_applies_where_a_bit_would_change() {
    type Case = (&'static str, for<'b> fn(kiln_graph::Var<'b>) -> kiln_graph::Var<'b>);
    let cases: [Case; 6] = [
        ("NaN", |x| x - x),
        ("NaN", |x| x * 0.0),
        ("NaN", |x| x / x),
        ("-0", |x| x + 0.0),
        ("-0", |x| 0.0 - x),
        ("rounding", |x| x / 3.0),
    ];
    for (why, case) in cases {
        let b = Builder::new();
        let x = b.data("x", DType::F32, &[4]);
        b.output("y", case(x));
        let before = b.finish().expect("a well-formed graph");
        for rule in RULES {
            let (_, times) = simplify::apply(rule, &before).expect("a well-formed graph");
            assert_eq!(times, 0, "rule `{}` applies in spite of {why}:\n{before}", rule.name);
        }
    }
}
