//! Parses the text form of programs; see [`crate::text`].

use kiln_tensor::{DType, Data, Shape, Tensor};

use super::cursor::{Parser, Result, clip};
use super::lex::Token;
use crate::TileMap;
use crate::ir::*;
use crate::location::Location;
use crate::verify::MAX_DEPTH;

/// Why a text is not a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// Parses a program. The result may still break the rules that [`crate::verify`] checks.
///
/// # Errors
/// If the text is not of the form that programs are printed in.
pub fn parse(text: &str) -> Result<Program> {
    let mut parser = Parser::new(text)?;
    let program = parser.program()?;
    match parser.token {
        Token::End => Ok(program),
        _ => parser.expected("the end of the text"),
    }
}

impl Parser<'_> {
    fn program(&mut self) -> Result<Program> {
        let mut program = Program::default();
        self.word("program")?;
        if self.eat_word("arena")? {
            program.arena_bytes = self.size()?;
        }
        if self.eat_word("prelude")? {
            program.prelude = self.size()?;
        }
        self.mark("{")?;
        while !self.eat("}")? {
            if self.eat_word("buffer")? {
                let id = self.buffer_id()?;
                if id.0 as usize != program.buffers.len() {
                    return self.fail(format!("expected buffer b{} next", program.buffers.len()));
                }
                program.buffers.push(self.buffer()?);
            } else if self.eat_word("kernel")? {
                program.kernels.push(self.kernel()?);
            } else {
                return self.expected("`buffer`, `kernel` or `}`");
            }
        }
        Ok(program)
    }

    fn buffer(&mut self) -> Result<Buffer> {
        let name = self.name()?;
        self.mark(":")?;
        let dtype = self.dtype()?;
        let dims = self.list("[", "]", Self::size)?;
        let shape = Shape::new(dims).or_else(|e| self.fail(e.to_string()))?;
        let kind = match self.token {
            Token::Word("input") => BufferKind::Input,
            Token::Word("param") => BufferKind::Param,
            Token::Word("state") => BufferKind::State,
            Token::Word("slot") => BufferKind::Slot,
            Token::Word("output") => BufferKind::Output,
            Token::Word("temp") => BufferKind::Temp,
            Token::Word("prepared") => BufferKind::Prepared,
            Token::Word("const") => {
                self.advance()?;
                let data = match dtype {
                    DType::F32 => Data::F32(self.list("[", "]", Self::f32)?),
                    DType::I32 => Data::I32(self.list("[", "]", Self::i32)?),
                    DType::Bool => Data::Bool(self.list("[", "]", Self::bool)?),
                };
                let tensor = Tensor::new(shape.clone(), data);
                BufferKind::Const(tensor.or_else(|e| self.fail(e.to_string()))?)
            }
            _ => return self.expected("what the buffer holds (input, param, state, ...)"),
        };
        if !matches!(kind, BufferKind::Const(_)) {
            self.advance()?;
        }
        let offset = if self.eat("@")? { Some(self.size()?) } else { None };
        Ok(Buffer { name, dtype, shape, kind, offset })
    }

    fn kernel(&mut self) -> Result<Kernel> {
        let name = self.name()?;
        let args = self.list("(", ")", Self::buffer_id)?;
        let mut locations = Vec::new();
        while self.eat("@")? {
            locations.push(self.location()?);
        }
        self.mark("{")?;
        let mut locals = Vec::new();
        while self.eat_word("local")? {
            if self.numbered("l", "a local")?.1 as usize != locals.len() {
                return self.fail(format!("expected local l{} next", locals.len()));
            }
            self.mark(":")?;
            let dtype = self.dtype()?;
            self.mark("[")?;
            locals.push(Local { dtype, elements: self.size()? });
            self.mark("]")?;
        }
        Ok(Kernel { name, args, locations: locations.into(), locals, body: self.body(0)? })
    }

    /// `"net.kiln":3:18`.
    fn location(&mut self) -> Result<Location> {
        let file = self.file()?;
        self.mark(":")?;
        let line = self.count()?;
        self.mark(":")?;
        Ok(Location { file, line, column: self.count()? })
    }

    /// Statements and the closing brace.
    fn body(&mut self, depth: usize) -> Result<Vec<Stmt>> {
        let mut body = Vec::new();
        while !self.eat("}")? {
            body.push(self.stmt(depth)?);
        }
        Ok(body)
    }

    fn stmt(&mut self, depth: usize) -> Result<Stmt> {
        if let Token::Reg(_) = self.token {
            let reg = self.reg()?;
            self.mark("=")?;
            return Ok(Stmt::Let(reg, self.inst()?));
        }
        let Token::Word(word) = self.token else {
            return self.expected("a statement or `}`");
        };
        match word {
            "for" => self.loop_over(LoopKind::Serial, depth),
            "parallel" => self.loop_over(LoopKind::Parallel, depth),
            "vector" => self.loop_over(LoopKind::Vector, depth),
            "mut" => {
                let (reg, value) = self.assignment()?;
                Ok(Stmt::Mut(reg, value))
            }
            "set" => {
                let (reg, value) = self.assignment()?;
                Ok(Stmt::Set(reg, value))
            }
            "accumulate" => {
                self.advance()?;
                let reg = self.reg()?;
                let Token::Word(op) = self.token else {
                    return self.expected("add, mul, max or min");
                };
                let Some(fold) = Fold::from_name(op) else {
                    return self.expected("add, mul, max or min");
                };
                self.advance()?;
                Ok(Stmt::Accumulate(reg, fold, self.reg()?))
            }
            "store" => {
                self.advance()?;
                let (mem, index) = self.element()?;
                self.mark("=")?;
                Ok(Stmt::Store(mem, index, self.reg()?))
            }
            "block" => self.block(),
            "contract" => self.contract(),
            "pack" => self.pack(),
            "transform" => self.transform(),
            _ => self.expected("a statement or `}`"),
        }
    }

    fn assignment(&mut self) -> Result<(Reg, Reg)> {
        self.advance()?;
        let reg = self.reg()?;
        self.mark("=")?;
        Ok((reg, self.reg()?))
    }

    fn loop_over(&mut self, kind: LoopKind, depth: usize) -> Result<Stmt> {
        if depth == MAX_DEPTH {
            return self.fail(format!("loops are nested more than {MAX_DEPTH} deep"));
        }
        self.advance()?;
        let var = self.var()?;
        self.word("in")?;
        let (start, extent, end);
        if matches!(self.token, Token::Number("0")) {
            self.advance()?;
            self.mark("..")?;
            start = None;
            if self.eat_word("min")? {
                self.mark("(")?;
                extent = self.size()?;
                self.mark(",")?;
                end = self.size()?;
                self.mark(")")?;
            } else {
                end = self.size()?;
                extent = end;
            }
        } else {
            let from = self.var()?;
            self.mark("..")?;
            self.word("min")?;
            self.mark("(")?;
            if self.var()? != from {
                return self.fail(format!("expected {from}, where the loop starts, in its end"));
            }
            self.mark("+")?;
            extent = self.size()?;
            self.mark(",")?;
            end = self.size()?;
            self.mark(")")?;
            start = Some(from);
        }
        let step = if self.eat_word("step")? { self.size()? } else { 1 };
        self.mark("{")?;
        let body = self.body(depth + 1)?;
        Ok(Stmt::For(For { var, start, extent, end, step, kind, body }))
    }

    fn inst(&mut self) -> Result<Inst> {
        let Token::Word(word) = self.token else {
            return self.expected("an instruction");
        };
        self.advance()?;
        Ok(match word {
            "f32" => Inst::Const(Scalar::F32(self.f32()?)),
            "i32" => Inst::Const(Scalar::I32(self.i32()?)),
            "bool" => Inst::Const(Scalar::Bool(self.bool()?)),
            "load" => {
                let (mem, index) = self.element()?;
                Inst::Load(mem, index)
            }
            "affine" => Inst::Affine(self.affine()?),
            "cast" => Inst::Cast(self.dtype()?, self.reg()?),
            "clamp" => {
                let x = self.reg()?;
                self.mark(",")?;
                Inst::Clamp(x, self.size()?)
            }
            "select" => {
                let cond = self.reg()?;
                self.mark(",")?;
                let (a, b) = self.two_regs()?;
                Inst::Select(cond, a, b)
            }
            _ => return self.operation(word),
        })
    }

    fn operation(&mut self, name: &str) -> Result<Inst> {
        if let Some(op) = Unary::from_name(name) {
            return Ok(Inst::Unary(op, self.reg()?));
        }
        if let Some(function) = Math::from_name(name) {
            return Ok(Inst::Call(function, self.reg()?));
        }
        if let Some(op) = Binary::from_name(name) {
            let (a, b) = self.two_regs()?;
            return Ok(Inst::Binary(op, a, b));
        }
        if let Some(op) = Compare::from_name(name) {
            let (a, b) = self.two_regs()?;
            return Ok(Inst::Compare(op, a, b));
        }
        self.fail(format!("unknown instruction `{}`", clip(name)))
    }

    fn two_regs(&mut self) -> Result<(Reg, Reg)> {
        let a = self.reg()?;
        self.mark(",")?;
        Ok((a, self.reg()?))
    }

    fn element(&mut self) -> Result<(Mem, Index)> {
        let mem = self.mem()?;
        self.mark("[")?;
        let index = self.index()?;
        self.mark("]")?;
        Ok((mem, index))
    }

    /// An element whose index has no registers.
    fn operand(&mut self) -> Result<(Mem, Affine)> {
        let mem = self.mem()?;
        self.mark("[")?;
        let affine = self.affine()?;
        self.mark("]")?;
        Ok((mem, affine))
    }

    fn affine(&mut self) -> Result<Affine> {
        let index = self.index()?;
        if !index.dynamic.is_empty() {
            return self.fail("a register cannot stand here");
        }
        Ok(index.affine)
    }

    fn index(&mut self) -> Result<Index> {
        let mut index = Index::default();
        let mut negative = self.eat("-")?;
        loop {
            self.term(negative, &mut index)?;
            negative = self.at("-");
            if !negative && !self.at("+") {
                return Ok(index);
            }
            self.advance()?;
        }
    }

    fn term(&mut self, negative: bool, index: &mut Index) -> Result<()> {
        let (magnitude, alone) = if let Token::Number(_) = self.token {
            let n = self.magnitude()?;
            (n, !self.eat("*")?)
        } else {
            (1, false)
        };
        let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
        let too_large = "an index does not fit 64 bits";
        let Ok(c) = i64::try_from(value) else {
            return self.fail(too_large);
        };
        if alone {
            match index.affine.constant.checked_add(c) {
                Some(sum) => index.affine.constant = sum,
                None => return self.fail(too_large),
            }
        } else if let Token::Reg(_) = self.token {
            index.dynamic.push((self.reg()?, c));
        } else {
            let var = self.var()?;
            if index.affine.coefficient(var).checked_add(c).is_none() {
                return self.fail(too_large);
            }
            index.affine.add_term(var, c);
        }
        match index.affine.terms.len() + index.dynamic.len() {
            n if n > MAX_DEPTH => self.fail(format!("an index of more than {MAX_DEPTH} terms")),
            _ => Ok(()),
        }
    }

    fn block(&mut self) -> Result<Stmt> {
        self.advance()?;
        let dst = self.operand()?;
        self.mark("=")?;
        let Token::Word(name) = self.token else {
            return self.expected("a function");
        };
        let Some(function) = Math::from_name(name) else {
            return self.expected("a function");
        };
        self.advance()?;
        let src = self.operand()?;
        self.word("len")?;
        if !self.eat_word("min")? {
            let len = self.size()?;
            return Ok(Stmt::Block(Block { function, dst, src, len, until: None }));
        }
        self.mark("(")?;
        let len = self.size()?;
        self.mark(",")?;
        let end = self.size()?;
        self.mark("-")?;
        let until = Some((self.var()?, end));
        self.mark(")")?;
        Ok(Stmt::Block(Block { function, dst, src, len, until }))
    }

    fn contract(&mut self) -> Result<Stmt> {
        self.advance()?;
        let c = self.operand()?;
        let accumulate = self.eat("+=")?;
        if !accumulate {
            self.mark("=")?;
        }
        let a = self.operand()?;
        self.mark("*")?;
        let b = self.operand()?;
        let (rows, cols, depth) = (self.dims("rows")?, self.dims("cols")?, self.dims("depth")?);
        let channelwise = self.eat_word("channelwise")?;
        let packed = self.eat_word("packed")?;
        let epilogue = self.epilogue()?;
        Ok(Stmt::Contract(Box::new(Contract {
            a,
            b,
            c,
            rows,
            cols,
            depth,
            accumulate,
            packed,
            channelwise,
            epilogue,
        })))
    }

    fn epilogue(&mut self) -> Result<Epilogue> {
        let mut epilogue = Epilogue::default();
        if self.eat_word("bias")? {
            epilogue.bias = Some(self.operand()?);
        }
        if self.eat_word("residual")? {
            let at = self.operand()?;
            self.word("rows")?;
            epilogue.residual = Some(Residual { at, rows: self.list("(", ")", Self::signed)? });
        }
        epilogue.relu = self.eat_word("relu")?;
        if self.eat_word("min")? {
            self.word("f32")?;
            epilogue.cap = Some(Scalar::F32(self.f32()?));
        }
        Ok(epilogue)
    }

    fn pack(&mut self) -> Result<Stmt> {
        self.advance()?;
        let dst = self.operand()?;
        self.mark("=")?;
        let src = self.operand()?;
        let (cols, depth) = (self.dims("cols")?, self.dims("depth")?);
        Ok(Stmt::Pack(Box::new(Pack { src, dst, cols, depth })))
    }

    fn transform(&mut self) -> Result<Stmt> {
        self.advance()?;
        let dst = self.operand()?;
        let dst_strides = self.strides()?;
        self.mark("=")?;
        let Token::Word(name) = self.token else {
            return self.expected("a map");
        };
        let Some(map) = TileMap::from_name(name) else {
            return self.expected("a map");
        };
        self.advance()?;
        let src = self.operand()?;
        let src_strides = self.strides()?;
        self.word("len")?;
        let len = self.size()?;
        let epilogue = self.epilogue()?;
        Ok(Stmt::Transform(Box::new(Transform {
            map,
            dst,
            dst_strides,
            src,
            src_strides,
            len,
            epilogue,
        })))
    }

    fn strides(&mut self) -> Result<[i64; 3]> {
        self.word("strides")?;
        self.mark("(")?;
        let row = self.signed()?;
        self.mark(",")?;
        let column = self.signed()?;
        self.mark(",")?;
        let channel = self.signed()?;
        self.mark(")")?;
        Ok([row, column, channel])
    }

    fn dims(&mut self, word: &str) -> Result<Vec<Dim>> {
        self.word(word)?;
        self.list("(", ")", |p| {
            let extent = p.size()?;
            p.mark(":")?;
            let input = p.signed()?;
            p.mark(":")?;
            Ok(Dim { extent, input, output: p.signed()? })
        })
    }
}
