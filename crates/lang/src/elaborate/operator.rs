//! Operators on numbers, truth values and tensors.

use kiln_graph::Var;
use kiln_tensor::DType;

use super::value::{Tensor, Value};
use super::{Elaborator, Eval};
use crate::ast::{BinaryOp, Spanned};
use crate::diagnostic::Code;
use crate::span::Span;

type At<'b> = (Value<'b>, Span);

impl<'a, 'b> Elaborator<'a, 'b> {
    pub(super) fn negate(&mut self, value: Value<'b>, span: Span) -> Eval<Value<'b>> {
        match value {
            Value::Int(x) => match x.checked_neg() {
                Some(x) => Ok(Value::Int(x)),
                None => self.error(Code::Value, span, "the number is too large", ""),
            },
            Value::Float(x) => Ok(Value::Float(-x)),
            Value::Tensor(t) => {
                self.locate(span);
                let t = if t.dtype == DType::Bool { self.cast(&t, DType::F32) } else { t };
                Ok(Value::Tensor(self.same_axes(&t, -t.var, span)))
            }
            other => self.error(
                Code::Type,
                span,
                format!("`-` needs a number, not {}", other.kind()),
                "",
            ),
        }
    }

    pub(super) fn not(&mut self, value: Value<'b>, span: Span) -> Eval<Value<'b>> {
        match value {
            Value::Bool(x) => Ok(Value::Bool(!x)),
            Value::Tensor(t) if t.dtype == DType::Bool => {
                self.locate(span);
                let var = t.var.unary(&kiln_graph::ops::NOT, kiln_graph::Attrs::new());
                Ok(Value::Tensor(self.same_axes(&t, var, span)))
            }
            other => self.error(
                Code::Type,
                span,
                format!("`not` needs true or false, not {}", other.kind()),
                "",
            ),
        }
    }

    pub(super) fn binary(
        &mut self,
        op: &Spanned<BinaryOp>,
        left: At<'b>,
        right: At<'b>,
        span: Span,
    ) -> Eval<Value<'b>> {
        let sign = op.node.sign();
        match (&left.0, &right.0) {
            (
                Value::Tensor(_),
                Value::Tensor(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_),
            )
            | (Value::Int(_) | Value::Float(_) | Value::Bool(_), Value::Tensor(_)) => {
                let result = self.binary_tensors(op, left, right, span);
                self.take_graph_error(span)?;
                result
            }
            (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
                match numbers(op.node, &left.0, &right.0) {
                    Ok(value) => Ok(value),
                    Err(message) => self.error(Code::Value, span, message, ""),
                }
            }
            (Value::Bool(a), Value::Bool(b)) => match op.node {
                BinaryOp::And => Ok(Value::Bool(*a && *b)),
                BinaryOp::Or => Ok(Value::Bool(*a || *b)),
                BinaryOp::Equal => Ok(Value::Bool(a == b)),
                BinaryOp::NotEqual => Ok(Value::Bool(a != b)),
                _ => self.error(
                    Code::Type,
                    span,
                    format!("`{sign}` does not apply to true and false"),
                    "",
                ),
            },
            (Value::Text(a), Value::Text(b))
                if matches!(op.node, BinaryOp::Equal | BinaryOp::NotEqual) =>
            {
                Ok(Value::Bool((a == b) == (op.node == BinaryOp::Equal)))
            }
            // A text never equals a number: `pad == "same"` asks which of the two it is.
            (Value::Text(_), Value::Int(_) | Value::Float(_))
            | (Value::Int(_) | Value::Float(_), Value::Text(_))
                if matches!(op.node, BinaryOp::Equal | BinaryOp::NotEqual) =>
            {
                Ok(Value::Bool(op.node == BinaryOp::NotEqual))
            }
            (Value::List(a), Value::List(b)) if op.node == BinaryOp::Add => {
                Ok(Value::List(a.iter().chain(b.iter()).cloned().collect()))
            }
            (l, r) => {
                let d =
                    crate::Diagnostic::new(Code::Type, format!("`{sign}` does not apply to these"))
                        .label(op.span, "")
                        .label(left.1, l.kind())
                        .label(right.1, r.kind());
                self.fail(d)
            }
        }
    }

    fn binary_tensors(
        &mut self,
        op: &Spanned<BinaryOp>,
        left: At<'b>,
        right: At<'b>,
        span: Span,
    ) -> Eval<Value<'b>> {
        use BinaryOp as B;
        self.locate(span);
        if op.node == B::Power {
            return self.power(left, right, span);
        }
        if op.node == B::Range {
            return self.error(
                Code::Type,
                span,
                "a range goes between whole numbers",
                "not known at compile time",
            );
        }
        let (mut a, mut b) = self.pair(left, right, span)?;
        match op.node {
            B::And | B::Or if a.dtype != DType::Bool || b.dtype != DType::Bool => {
                let message = format!("`{}` needs truth values", op.node.sign());
                let types = format!("{} and {}", a.type_text(), b.type_text());
                return self.error(Code::Type, span, message, types);
            }
            // Division is that of real numbers, as it is for numbers.
            B::Divide => {
                a = self.cast(&a, DType::F32);
                b = self.cast(&b, DType::F32);
            }
            B::Add | B::Subtract | B::Multiply if a.dtype == DType::Bool => {
                a = self.cast(&a, DType::F32);
                b = self.cast(&b, DType::F32);
            }
            B::Less | B::LessEqual | B::Greater | B::GreaterEqual if a.dtype == DType::Bool => {
                a = self.cast(&a, DType::I32);
                b = self.cast(&b, DType::I32);
            }
            _ => {}
        }
        let sign = format!("`{}`", op.node.sign());
        let t = self.elementwise(&sign, &[&a, &b], span, |v| {
            let (a, b) = (v[0], v[1]);
            let logic = |op| a.builder().op(op, kiln_graph::Attrs::new(), &[a, b]);
            match op.node {
                B::Add => a + b,
                B::Subtract => a - b,
                B::Multiply => a * b,
                B::Divide => a / b,
                B::Equal => a.eq(b),
                B::NotEqual => a.ne(b),
                B::Less => a.lt(b),
                B::LessEqual => a.le(b),
                B::Greater => a.gt(b),
                B::GreaterEqual => a.ge(b),
                B::And => logic(&kiln_graph::ops::AND),
                _ => logic(&kiln_graph::ops::OR),
            }
        })?;
        Ok(Value::Tensor(t))
    }

    /// Two operands as tensors of one element type: the wider of bool, i32, f32.
    pub(super) fn pair(
        &mut self,
        left: At<'b>,
        right: At<'b>,
        span: Span,
    ) -> Eval<(Tensor<'b>, Tensor<'b>)> {
        let dtype = widest(dtype_of(&left.0), dtype_of(&right.0));
        let a = self.operand(left.0, dtype, left.1)?;
        let b = self.operand(right.0, dtype, right.1)?;
        let _ = span;
        Ok((a, b))
    }

    /// A value as a tensor of this element type.
    pub(super) fn operand(
        &mut self,
        value: Value<'b>,
        dtype: DType,
        span: Span,
    ) -> Eval<Tensor<'b>> {
        match value {
            Value::Tensor(t) => Ok(self.cast(&t, dtype)),
            Value::Int(x) => Ok(self.scalar(x as f64, dtype, span)),
            Value::Float(x) => Ok(self.scalar(x, dtype, span)),
            Value::Bool(x) => Ok(self.scalar(f64::from(u8::from(x)), dtype, span)),
            other => self.error(
                Code::Type,
                span,
                format!("expected a tensor or a number, not {}", other.kind()),
                "",
            ),
        }
    }

    /// `x ^ y`: by products for whole exponents, by exp and log otherwise.
    fn power(&mut self, left: At<'b>, right: At<'b>, span: Span) -> Eval<Value<'b>> {
        match (&left.0, &right.0) {
            (Value::Tensor(t), Value::Int(n)) => {
                let Ok(n) = i32::try_from(*n) else {
                    return self.error(Code::Value, right.1, "the exponent is too large", "");
                };
                let t = if t.dtype == DType::F32 || n > 0 && t.dtype == DType::I32 {
                    t.clone()
                } else {
                    self.cast(t, DType::F32)
                };
                Ok(Value::Tensor(self.same_axes(&t, t.var.powi(n), span)))
            }
            (Value::Tensor(t), Value::Float(p)) => {
                let t = self.cast(t, DType::F32);
                let x: Var<'b> = t.var;
                let var = if *p == 0.5 {
                    x.sqrt()
                } else if *p == -0.5 {
                    x.rsqrt()
                } else {
                    (x.log() * *p as f32).exp()
                };
                Ok(Value::Tensor(self.same_axes(&t, var, span)))
            }
            (Value::Int(_) | Value::Float(_), Value::Tensor(t)) => {
                let base = match left.0 {
                    Value::Int(x) => x as f64,
                    Value::Float(x) => x,
                    _ => 0.0,
                };
                if base <= 0.0 {
                    let message =
                        format!("{base} to the power of a tensor: the base must be positive");
                    return self.error(Code::Value, left.1, message, "");
                }
                let t = self.cast(t, DType::F32);
                let var = (t.var * base.ln() as f32).exp();
                Ok(Value::Tensor(self.same_axes(&t, var, span)))
            }
            _ => {
                let a = self.operand(left.0, DType::F32, left.1)?;
                let b = self.operand(right.0, DType::F32, right.1)?;
                let t = self.elementwise("`^`", &[&a, &b], span, |v| (v[1] * v[0].log()).exp())?;
                Ok(Value::Tensor(t))
            }
        }
    }
}

/// The element type a value has, or takes on beside a tensor.
pub(super) fn dtype_of(value: &Value<'_>) -> DType {
    match value {
        Value::Tensor(t) => t.dtype,
        Value::Bool(_) => DType::Bool,
        Value::Int(x) if i32::try_from(*x).is_ok() => DType::I32,
        _ => DType::F32,
    }
}

/// The wider of two element types.
pub(super) fn widest(a: DType, b: DType) -> DType {
    let rank = |d| match d {
        DType::Bool => 0,
        DType::I32 => 1,
        DType::F32 => 2,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// An operator on numbers. Whole numbers stay whole where the result is.
fn numbers<'b>(op: BinaryOp, left: &Value<'b>, right: &Value<'b>) -> Result<Value<'b>, String> {
    use BinaryOp as B;
    let float = |v: &Value<'b>| match v {
        Value::Int(x) => *x as f64,
        Value::Float(x) => *x,
        _ => f64::NAN,
    };
    let (x, y) = (float(left), float(right));
    let truth = match op {
        B::Equal => Some(x == y),
        B::NotEqual => Some(x != y),
        B::Less => Some(x < y),
        B::LessEqual => Some(x <= y),
        B::Greater => Some(x > y),
        B::GreaterEqual => Some(x >= y),
        _ => None,
    };
    if let Some(truth) = truth {
        return Ok(Value::Bool(truth));
    }
    let overflow = || format!("{} {} {} is too large", left.text(), op.sign(), right.text());
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        let whole = match op {
            B::Add => Some(a.checked_add(*b)),
            B::Subtract => Some(a.checked_sub(*b)),
            B::Multiply => Some(a.checked_mul(*b)),
            B::Divide if *b == 0 => return Err("division by zero".to_string()),
            B::Divide if a.checked_rem(*b) == Some(0) => Some(a.checked_div(*b)),
            B::Power if *b >= 0 => Some(u32::try_from(*b).ok().and_then(|b| a.checked_pow(b))),
            B::Range => return Ok(Value::Range(*a, *b)),
            _ => None,
        };
        if let Some(whole) = whole {
            return whole.map(Value::Int).ok_or_else(overflow);
        }
    }
    let value = match op {
        B::Add => x + y,
        B::Subtract => x - y,
        B::Multiply => x * y,
        B::Divide if y == 0.0 => return Err("division by zero".to_string()),
        B::Divide => x / y,
        B::Power => x.powf(y),
        _ => {
            return Err(format!(
                "`{}` does not apply to {} and {}",
                op.sign(),
                left.text(),
                right.text()
            ));
        }
    };
    Ok(Value::Float(value))
}
