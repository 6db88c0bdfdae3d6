//! Forms of the language on the whole way: their gradients against finite differences, and how compilation grows.

use std::collections::BTreeSet;

use kiln::{Engine, Options, check_gradients, compile, parse};

/// A model on the bundled digits whose result is `logits`, [N, C=10].
fn digits(body: &str) -> String {
    format!(
        "model m(image: f32[N, C=1, H=8, W=8]) {{
            x = image[C=0]
            {body}
            return logits
        }}
        train m {{
            data      = digits(\"data/digits.csv\", split=\"train\")
            loss      = cross_entropy(logits, data.label)
            optimizer = sgd(lr=0.1)
        }}"
    )
}

fn gradients_are_right(body: &str) {
    let model = parse(&digits(body), "m.kiln").unwrap_or_else(|e| panic!("{body}\n{e}"));
    let check = check_gradients(&model, &Options::default());
    let check = check.unwrap_or_else(|e| panic!("{body}\n{e}"));
    assert!(check.is_right(), "{body}\n{check}");
    // An input may reach the loss by nothing but the places it chooses.
    assert!(check.rows.iter().all(|r| r.norm > 0.0 || r.name == "image"), "{body}\n{check}");
}

#[test]
fn the_index_form_has_its_gradient() {
    for body in [
        // A matrix product with two summed axes.
        "param w: f32[O=10, I=8, J=8] = normal()
         logits[N=n, C=o] = sum[i, j](x[N=n, H=i, W=j] * w[O=o, I=i, J=j])",
        // A convolution with stride and dilation, whose result is convolved again.
        "param w: f32[O=2, K=3, L=2] = normal()
         param v: f32[O=10, I=2, K=2, L=2] = normal()
         y[N=n, C=o, H=i, W=j] = sum[u, v](x[N=n, H=2*i + u, W=j + 2*v] * w[O=o, K=u, L=v])
         z[N=n, C=o, H=i, W=j] = sum[c, u, a](y[N=n, C=c, H=i + u, W=j + a] * v[O=o, I=c, K=u, L=a])
         logits = mean[H, W](z)",
        // Windows that are no convolution: weights of their own for every place.
        "param w: f32[H=6, K=3, O=10] = normal()
         param scale: f32[W=8] = normal()
         y[N=n, H=i, W=j] = x[N=n, H=i, W=j] * scale[W=j]
         z[N=n, H=i, W=j, C=o] = sum[u](y[N=n, H=i + u, W=j] * w[H=i, K=u, O=o])
         logits = mean[H, W](z)",
        // Maxima of windows, the diagonal, a table with an index that is computed.
        "param a: f32[H=8, W=8] = normal()
         param table: f32[V=4, C=10] = normal()
         y[H=i, W=j] = max[u in 0..2, v in 0..2](a[H=2*i + u, W=2*j + v])
         d[K=k] = a[H=k, W=7 - k]
         r[N=n, C=c, H=i] = x[N=n, H=i, W=0] * table[V=mod(3 * i, 4), C=c]
         logits = mean[H](r) * (sum(y) + sum[K](d ^ 2))",
        // Rows and places chosen together, one of them by data.
        "param a: f32[H=8, W=8, C=10] = normal()
         label = argmax[W](x)
         y[N=n, H=i, C=c] = a[H=i, W=label[N=n, H=i], C=c]
         logits = sum[H](y)",
    ] {
        gradients_are_right(body);
    }
}

#[test]
fn recurrences_have_their_gradients() {
    for body in [
        "logits = mean[H](x |> lstm[W, H](3) as a |> lstm[W, H](10, backward=true) as b) |> rename[W -> C]",
        "logits = mean[H](x |> gru[W, H](3) as a |> gru[W, H](10, backward=true) as b) |> rename[W -> C]",
        "y = x |> rnn[W, H](10)
         logits = y[H=7] |> rename[W -> C]",
        // Every second step, twice over some of them; a weight of the scan itself.
        "param scale: f32[W=8] = ones()
         v = x * scale
         h = repeat[C=10](0)
         scan t in 0..3 {
             param w: f32[C=10, W=8] = normal()
             h = tanh(h + sum[W](w * v[H=2 * t]) + mean[H, W](v[H=t..t + 4]))
         }
         logits = h",
    ] {
        gradients_are_right(body);
    }
}

#[test]
fn a_recurrence_grows_with_its_steps_and_no_faster() {
    let text = "model m(steps=10)(image: f32[N, C=1, H=8, W=8]) {
            x = repeat[T=steps](mean[C, H](image))
            y = x |> lstm[W, T](4) as a |> lstm[W, T](4) as b
            logits = y[T=steps - 1] |> linear(10) |> rename[W -> C]
            return logits
        }
        train m {
            data      = digits(\"data/digits.csv\", split=\"train\")
            loss      = cross_entropy(logits, data.label)
            optimizer = sgd(lr=0.1)
            batch     = 2
        }";
    let model = parse(text, "m.kiln").unwrap_or_else(|e| panic!("{e}"));
    let sizes = |steps: usize| {
        let options = Options::default().bind("steps", steps).engine(Engine::Loops).threads(2);
        let step = compile(&model.training().expect("a train section"), &options);
        let report = step.unwrap_or_else(|e| panic!("{e}")).report().clone();
        let nodes = report.passes.iter().map(|p| p.after).max().unwrap_or(0);
        (nodes as f64, report.kernels as f64, report.memory.arena as f64)
    };
    // So many steps that a gradient joined from pieces is too long a kernel to be cut for threads.
    let (few, many) = (sizes(30), sizes(300));
    for (less, more) in [(few.0, many.0), (few.1, many.1), (few.2, many.2)] {
        assert!(more <= 10.5 * less, "{few:?} for 30 steps, {many:?} for 300");
    }
}

#[test]
fn editors_know_the_words_of_the_language() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    };
    // The words of a rule of the grammar, and those of a pattern `\\b(one|other)\\b`.
    let grammar = read("dsl/grammar.pest");
    let rule = |name: &str| -> BTreeSet<String> {
        let start = grammar.find(&format!("\n{name}")).unwrap_or_else(|| panic!("no rule {name}"));
        let body = &grammar[start..];
        let body = &body[..body.find('}').expect("an end")];
        body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let text = read("docs/editors/vscode/syntaxes/kiln.tmLanguage.json");
    let colours: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let listed = |part: &str| -> BTreeSet<String> {
        let patterns = colours["repository"][part]["patterns"].as_array().expect("patterns");
        let lists = patterns.iter().filter_map(|p| {
            let inner = p["match"].as_str()?.strip_prefix("\\b(")?;
            Some(inner[..inner.find(')')?].to_owned())
        });
        lists.flat_map(|l| l.split('|').map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    assert_eq!(listed("word"), rule("reserved "));
    let declared = listed("definition");
    for word in rule("definition_word").iter().chain(&rule("declaration_word")) {
        assert!(declared.contains(word), "{word} declares something");
    }
}
