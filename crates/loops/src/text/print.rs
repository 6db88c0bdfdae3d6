//! Prints programs and their parts.

use std::fmt::{self, Display, Formatter, Write as _};

use kiln_tensor::{Data, Tensor};

use crate::ir::*;
use crate::location::Location;

impl Display for BufferId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl Display for Var {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Mem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Mem::Arg(n) => write!(f, "a{n}"),
            Mem::Local(n) => write!(f, "l{n}"),
        }
    }
}

impl Display for Affine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        sum(f, self, &[])
    }
}

impl Display for Index {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        sum(f, &self.affine, &self.dynamic)
    }
}

/// `3*i0 - i1 + 7*%2 + 5`: loop variables, registers, the constant unless it is a 0 among others.
fn sum(f: &mut Formatter<'_>, affine: &Affine, dynamic: &[(Reg, i64)]) -> fmt::Result {
    let mut first = true;
    let mut sign = |f: &mut Formatter<'_>, negative: bool| {
        let text = match (first, negative) {
            (true, false) => "",
            (true, true) => "-",
            (false, false) => " + ",
            (false, true) => " - ",
        };
        first = false;
        f.write_str(text)
    };
    let product = |f: &mut Formatter<'_>, c: i64| match c.unsigned_abs() {
        1 => Ok(()),
        n => write!(f, "{n}*"),
    };
    for &(var, c) in &affine.terms {
        sign(f, c < 0)?;
        product(f, c)?;
        write!(f, "{var}")?;
    }
    for &(reg, c) in dynamic {
        sign(f, c < 0)?;
        product(f, c)?;
        write!(f, "{reg}")?;
    }
    let c = affine.constant;
    if c != 0 || (affine.terms.is_empty() && dynamic.is_empty()) {
        sign(f, c < 0)?;
        write!(f, "{}", c.unsigned_abs())?;
    }
    Ok(())
}

/// The shortest decimal that reads back as the same bits; `nan` is the usual quiet one, others
/// are `nan:0x...` with all their bits.
struct Float(f32);

impl Display for Float {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            x if x.to_bits() == f32::NAN.to_bits() => f.write_str("nan"),
            x if x.is_nan() => write!(f, "nan:0x{:08x}", x.to_bits()),
            x => write!(f, "{x:?}"),
        }
    }
}

impl Display for Scalar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::F32(x) => write!(f, "f32 {}", Float(*x)),
            Scalar::I32(x) => write!(f, "i32 {x}"),
            Scalar::Bool(x) => write!(f, "bool {x}"),
        }
    }
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Inst::Const(x) => write!(f, "{x}"),
            Inst::Load(mem, index) => write!(f, "load {mem}[{index}]"),
            Inst::Affine(e) => write!(f, "affine {e}"),
            Inst::Unary(op, x) => write!(f, "{} {x}", op.name()),
            Inst::Binary(op, a, b) => write!(f, "{} {a}, {b}", op.name()),
            Inst::Compare(op, a, b) => write!(f, "{} {a}, {b}", op.name()),
            Inst::Select(c, a, b) => write!(f, "select {c}, {a}, {b}"),
            Inst::Cast(dtype, x) => write!(f, "cast {dtype} {x}"),
            Inst::Call(function, x) => write!(f, "{} {x}", function.name()),
            Inst::Clamp(x, extent) => write!(f, "clamp {x}, {extent}"),
        }
    }
}

/// The line of a loop without its body.
impl Display for For {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            LoopKind::Serial => "for",
            LoopKind::Parallel => "parallel",
            LoopKind::Vector => "vector",
        };
        write!(f, "{word} {} in ", self.var)?;
        let (extent, end) = (self.extent, self.end);
        match self.start {
            None if extent == end => write!(f, "0..{end}")?,
            None => write!(f, "0..min({extent}, {end})")?,
            Some(start) => write!(f, "{start}..min({start}+{extent}, {end})")?,
        }
        if self.step != 1 {
            write!(f, " step {}", self.step)?;
        }
        Ok(())
    }
}

struct Dims<'a>(&'static str, &'a [Dim]);

impl Display for Dims<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " {}(", self.0)?;
        for (i, d) in self.1.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}:{}:{}", d.extent, d.input, d.output)?;
        }
        f.write_str(")")
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (dst, src) = (&self.dst, &self.src);
        let name = self.function.name();
        write!(f, "block {}[{}] = {name} {}[{}] len ", dst.0, dst.1, src.0, src.1)?;
        match self.until {
            None => write!(f, "{}", self.len),
            Some((var, end)) => write!(f, "min({}, {end}-{var})", self.len),
        }
    }
}

impl Display for Transform {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (dst, src, name) = (&self.dst, &self.src, self.map.name());
        let ([a, b, c], [d, e, g]) = (self.dst_strides, self.src_strides);
        write!(f, "transform {}[{}] strides({a}, {b}, {c}) = ", dst.0, dst.1)?;
        write!(f, "{name} {}[{}] strides({d}, {e}, {g}) len {}", src.0, src.1, self.len)?;
        write!(f, "{}", self.epilogue)
    }
}

impl Display for Contract {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (a, b, c) = (&self.a, &self.b, &self.c);
        let equals = if self.accumulate { "+=" } else { "=" };
        write!(f, "contract {}[{}] {equals} {}[{}] * {}[{}]", c.0, c.1, a.0, a.1, b.0, b.1)?;
        write!(f, "{}", Dims("rows", &self.rows))?;
        write!(f, "{}{}", Dims("cols", &self.cols), Dims("depth", &self.depth))?;
        f.write_str(if self.channelwise { " channelwise" } else { "" })?;
        f.write_str(if self.packed { " packed" } else { "" })?;
        write!(f, "{}", self.epilogue)
    }
}

impl Display for Epilogue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Epilogue { bias, residual, relu, cap } = self;
        if let Some((mem, index)) = bias {
            write!(f, " bias {mem}[{index}]")?;
        }
        if let Some(Residual { at, rows }) = residual {
            let rows: Vec<String> = rows.iter().map(i64::to_string).collect();
            write!(f, " residual {}[{}] rows({})", at.0, at.1, rows.join(", "))?;
        }
        f.write_str(if *relu { " relu" } else { "" })?;
        match cap {
            Some(cap) => write!(f, " min {cap}"),
            None => Ok(()),
        }
    }
}

impl Display for Pack {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (dst, src) = (&self.dst, &self.src);
        write!(f, "pack {}[{}] = {}[{}]", dst.0, dst.1, src.0, src.1)?;
        write!(f, "{}{}", Dims("cols", &self.cols), Dims("depth", &self.depth))
    }
}

/// The statement's line; for a loop that is its header.
impl Display for Stmt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stmt::For(header) => write!(f, "{header}"),
            Stmt::Let(reg, inst) => write!(f, "{reg} = {inst}"),
            Stmt::Mut(reg, init) => write!(f, "mut {reg} = {init}"),
            Stmt::Set(reg, value) => write!(f, "set {reg} = {value}"),
            Stmt::Accumulate(reg, fold, value) => {
                write!(f, "accumulate {reg} {} {value}", fold.name())
            }
            Stmt::Store(mem, index, value) => write!(f, "store {mem}[{index}] = {value}"),
            Stmt::Block(block) => write!(f, "{block}"),
            Stmt::Contract(contract) => write!(f, "{contract}"),
            Stmt::Pack(pack) => write!(f, "{pack}"),
            Stmt::Transform(transform) => write!(f, "{transform}"),
        }
    }
}

/// A name between quotes.
pub(crate) fn quoted(name: &str) -> String {
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The elements of a constant.
struct Elements<'a>(&'a Tensor);

impl Display for Elements<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fn list<T: Display>(f: &mut Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
            for (i, x) in items.enumerate() {
                write!(f, "{}{x}", if i == 0 { "" } else { ", " })?;
            }
            Ok(())
        }
        f.write_str("[")?;
        match self.0.data() {
            Data::F32(v) => list(f, v.iter().map(|&x| Float(x)))?,
            Data::I32(v) => list(f, v.iter())?,
            Data::Bool(v) => list(f, v.iter())?,
        }
        f.write_str("]")
    }
}

impl BufferKind {
    /// The word for it in every text form.
    pub const fn name(&self) -> &'static str {
        match self {
            BufferKind::Input => "input",
            BufferKind::Param => "param",
            BufferKind::State => "state",
            BufferKind::Slot => "slot",
            BufferKind::Output => "output",
            BufferKind::Const(_) => "const",
            BufferKind::Prepared => "prepared",
            BufferKind::Temp => "temp",
        }
    }
}

impl Display for Buffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = self.kind.name();
        write!(f, "{}: {}{} {kind}", quoted(&self.name), self.dtype, self.shape)?;
        if let BufferKind::Const(tensor) = &self.kind {
            write!(f, " {}", Elements(tensor))?;
        }
        if let Some(offset) = self.offset {
            write!(f, " @{offset}")?;
        }
        Ok(())
    }
}

/// One line for each statement, loops indented; `depth` is the first line's indentation.
pub(crate) fn lines(body: &[Stmt], depth: usize, out: &mut String) {
    for stmt in body {
        let pad = depth * 2;
        write!(out, "{:pad$}{stmt}", "").expect("writing to a string");
        if let Stmt::For(header) = stmt {
            out.push_str(" {\n");
            lines(&header.body, depth + 1, out);
            write!(out, "{:pad$}}}", "").expect("writing to a string");
        }
        out.push('\n');
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let args = self.args.iter().map(BufferId::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "  kernel {}({args})", quoted(&self.name))?;
        for Location { file, line, column } in &*self.locations {
            write!(f, " @{}:{line}:{column}", quoted(file))?;
        }
        f.write_str(" {\n")?;
        for (i, local) in self.locals.iter().enumerate() {
            writeln!(f, "    local l{i}: {}[{}]", local.dtype, local.elements)?;
        }
        let mut body = String::new();
        lines(&self.body, 2, &mut body);
        f.write_str(&body)?;
        f.write_str("  }\n")
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("program")?;
        if self.arena_bytes > 0 {
            write!(f, " arena {}", self.arena_bytes)?;
        }
        if self.prelude > 0 {
            write!(f, " prelude {}", self.prelude)?;
        }
        f.write_str(" {\n")?;
        for (i, buffer) in self.buffers.iter().enumerate() {
            writeln!(f, "  buffer b{i} {buffer}")?;
        }
        for kernel in &self.kernels {
            write!(f, "{kernel}")?;
        }
        f.write_str("}\n")
    }
}
