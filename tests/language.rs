//! Forms of the language on the whole way: their gradients against finite differences, and how compilation grows.

use kiln::{Options, check_gradients, parse};

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
    assert!(check.rows.iter().all(|r| r.norm > 0.0), "{body}\n{check}");
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
