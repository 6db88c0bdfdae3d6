//! Builtins: the functions that the library is written over. Each is a row of a table.

mod data;
mod math;
mod random;
mod rearrange;
mod reduce;
mod window;

use std::rc::Rc;

use super::value::{Arg, AxisArgs, Tensor, Value};
use super::{Elaborator, Eval};
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// A builtin function.
pub(super) struct Builtin {
    pub name: &'static str,
    /// Its parameters; those with `?` at the end may be left out; `...` takes any number, `...=` any
    /// number with names.
    pub params: &'static [&'static str],
    /// Whether it may, must or cannot have axes in brackets.
    pub axes: Axes,
    pub run: for<'a, 'b> fn(&mut Elaborator<'a, 'b>, &Given<'b>) -> Eval<Value<'b>>,
}

/// Whether a builtin has brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axes {
    None,
    Optional,
    Required,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn tables() -> impl Iterator<Item = &'static Builtin> {
    [data::TABLE, math::TABLE, random::TABLE, rearrange::TABLE, reduce::TABLE, window::TABLE]
        .into_iter()
        .flatten()
}

/// The builtin of this name.
pub(super) fn find(name: &str) -> Option<&'static Builtin> {
    tables().find(|b| b.name == name)
}

/// The names of all builtins.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    tables().map(|b| b.name)
}

/// The arguments of a call of a builtin, sorted to its parameters.
pub(super) struct Given<'b> {
    builtin: &'static Builtin,
    values: Vec<Option<Arg<'b>>>,
    /// Those of `...`.
    pub rest: Vec<Arg<'b>>,
    pub axes: Option<Rc<AxisArgs>>,
    /// The call.
    pub span: Span,
}

impl<'b> Given<'b> {
    pub(super) fn bind(
        e: &mut Elaborator<'_, 'b>,
        builtin: &'static Builtin,
        axes: Option<Rc<AxisArgs>>,
        arguments: Vec<Arg<'b>>,
        span: Span,
    ) -> Eval<Given<'b>> {
        let name = builtin.name;
        match (builtin.axes, &axes) {
            (Axes::None, Some(args)) => {
                return e.error(
                    Code::Type,
                    args.span,
                    format!("`{name}` has no axes in brackets"),
                    "",
                );
            }
            (Axes::Required, None) => {
                let d = Diagnostic::new(Code::Type, format!("`{name}` needs axes in brackets"))
                    .label(span, "");
                return e.fail(d.help(format!("for example {name}[C](...)")));
            }
            _ => {}
        }
        let params: Vec<&'static str> =
            builtin.params.iter().map(|p| p.trim_end_matches('?')).collect();
        let mut given =
            Given { builtin, values: vec![None; params.len()], rest: Vec::new(), axes, span };
        let mut next = 0;
        for argument in arguments {
            let at = match &argument.name {
                Some(key) => match params.iter().position(|p| *p == key.node && *p != "...") {
                    Some(at) => at,
                    None if params.contains(&"...=") => {
                        given.rest.push(argument);
                        continue;
                    }
                    None => {
                        let known: Vec<&str> =
                            params.iter().copied().filter(|p| *p != "...").collect();
                        return e.unknown_argument(name, key, &known);
                    }
                },
                None if params.get(next) == Some(&"...") => {
                    given.rest.push(argument);
                    continue;
                }
                None => {
                    next += 1;
                    next - 1
                }
            };
            if params.get(at) == Some(&"...=") {
                let message = format!("`{name}` takes arguments with names");
                return e.error(Code::Type, argument.span, message, "this one has none");
            }
            if at >= params.len() {
                let message = format!("`{name}` takes {} arguments", params.len());
                return e.error(Code::Type, argument.span, message, "one too many");
            }
            if given.values[at].is_some() {
                let message = format!("`{}` of `{name}` is given twice", params[at]);
                return e.error(Code::Name, argument.span, message, "the second time");
            }
            given.values[at] = Some(argument);
        }
        for (param, value) in builtin.params.iter().zip(&given.values) {
            if value.is_none() && !param.ends_with('?') && !param.starts_with("...") {
                let message = format!("`{name}` needs `{param}`");
                return e.error(Code::Type, span, message, "not given here");
            }
        }
        Ok(given)
    }

    /// The name of the function.
    pub fn name(&self) -> &'static str {
        self.builtin.name
    }

    /// An argument, if given.
    pub fn get(&self, param: &str) -> Option<&Arg<'b>> {
        let at = self.builtin.params.iter().position(|p| p.trim_end_matches('?') == param)?;
        self.values[at].as_ref()
    }

    /// An argument's value and place; poison and the call's place if it was not given.
    pub fn at(&self, param: &str) -> (Value<'b>, Span) {
        self.get(param).map_or((Value::Poison, self.span), |a| (a.value.clone(), a.span))
    }

    /// The place of an argument.
    pub fn span_of(&self, param: &str) -> Span {
        self.get(param).map_or(self.span, |a| a.span)
    }

    /// A tensor.
    pub fn tensor(&self, e: &mut Elaborator<'_, 'b>, param: &str) -> Eval<Tensor<'b>> {
        match self.at(param) {
            (Value::Tensor(t), _) => Ok(t),
            (other, span) => {
                let message = format!("`{}` needs a tensor, not {}", self.name(), other.kind());
                e.error(Code::Type, span, message, "")
            }
        }
    }

    /// A whole number of at least `least`, or the default.
    pub fn whole(
        &self,
        e: &mut Elaborator<'_, 'b>,
        param: &str,
        least: usize,
        default: usize,
    ) -> Eval<usize> {
        match self.get(param) {
            None => Ok(default),
            Some(a) => self.whole_value(e, param, &a.value, a.span, least),
        }
    }

    /// A value given for `param` as a whole number of at least `least`.
    pub fn whole_value(
        &self,
        e: &mut Elaborator<'_, 'b>,
        param: &str,
        value: &Value<'b>,
        span: Span,
        least: usize,
    ) -> Eval<usize> {
        match value {
            Value::Int(x) if *x >= least as i64 && *x <= 1 << 40 => Ok(*x as usize),
            value => {
                let message = format!(
                    "`{param}` of `{}` must be a whole number of at least {least}, not {}",
                    self.name(),
                    value.text()
                );
                e.error(Code::Value, span, message, "")
            }
        }
    }

    /// A value given for `param`, for each of `count` axes: a list has one for each, anything else is for all.
    pub fn for_each_axis(
        &self,
        e: &mut Elaborator<'_, 'b>,
        param: &str,
        value: &Value<'b>,
        span: Span,
        count: usize,
    ) -> Eval<Vec<Value<'b>>> {
        match value {
            Value::List(items) if items.len() == count => Ok(items.to_vec()),
            Value::List(items) => {
                let message = format!(
                    "`{param}` of `{}` has {} values, {count} are needed",
                    self.name(),
                    items.len()
                );
                e.error(Code::Value, span, message, "one for all, or a list of one for each axis")
            }
            one => Ok(vec![one.clone(); count]),
        }
    }

    /// Whole numbers of at least `least` for each of `count` axes, or the default.
    pub fn per_axis(
        &self,
        e: &mut Elaborator<'_, 'b>,
        param: &str,
        count: usize,
        least: usize,
        default: &[usize],
    ) -> Eval<Vec<usize>> {
        let Some(argument) = self.get(param) else { return Ok(default.to_vec()) };
        let items = self.for_each_axis(e, param, &argument.value, argument.span, count)?;
        items.iter().map(|item| self.whole_value(e, param, item, argument.span, least)).collect()
    }

    /// True or false, or the default.
    pub fn flag(&self, e: &mut Elaborator<'_, 'b>, param: &str, default: bool) -> Eval<bool> {
        match self.get(param).map(|a| (&a.value, a.span)) {
            None => Ok(default),
            Some((Value::Bool(x), _)) => Ok(*x),
            Some((other, span)) => {
                let message = format!(
                    "`{param}` of `{}` is true or false, not {}",
                    self.name(),
                    other.kind()
                );
                e.error(Code::Type, span, message, "")
            }
        }
    }

    /// A number.
    pub fn number(&self, e: &mut Elaborator<'_, 'b>, param: &str) -> Eval<f64> {
        match self.at(param) {
            (Value::Int(x), _) => Ok(x as f64),
            (Value::Float(x), _) => Ok(x),
            (other, span) => {
                let message =
                    format!("`{param}` of `{}` is a number, not {}", self.name(), other.kind());
                e.error(Code::Type, span, message, "")
            }
        }
    }

    /// A text, or the default.
    pub fn text(&self, e: &mut Elaborator<'_, 'b>, param: &str, default: &str) -> Eval<String> {
        match self.get(param).map(|a| (&a.value, a.span)) {
            None => Ok(default.to_string()),
            Some((Value::Text(x), _)) => Ok(x.to_string()),
            Some((other, span)) => {
                let message = format!(
                    "`{param}` of `{}` is a text in quotes, not {}",
                    self.name(),
                    other.kind()
                );
                e.error(Code::Type, span, message, "")
            }
        }
    }
}
