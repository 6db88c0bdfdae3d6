//! Kernels to Cranelift's intermediate form.
//!
//! Every kernel becomes a function of its arguments' base addresses, the running thread's scratch
//! memory, and the iterations of its parallel loops to run. Cranelift neither unrolls loops nor
//! moves code when asked for no optimisation, so that is done here: invariants are computed ahead
//! of loops, addresses are shared, vector loops work on several vectors at a time.

mod address;
pub(crate) mod contract;
pub(crate) mod facts;
mod loops;
mod ops;

use std::collections::{HashMap, HashSet};

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, FuncRef, Function, GlobalValue, GlobalValueData,
    InstBuilder, Signature, StackSlotData, StackSlotKind, UserExternalName, Value,
};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use cranelift_module::{DataId, FuncId};
use kiln_loops::{Affine, Fold, Inst, Kernel, Math, Mem, Reg, Scalar, Stmt, Var};
use kiln_tensor::DType;

use address::Addresses;
use contract::Descriptors;
use ops::{LANES, Operand};

use crate::wide::Calls;

/// What generated code may call or refer to.
pub(crate) struct Linkage {
    pub isa: OwnedTargetIsa,
    /// `kiln_contract`, `kiln_contract_packed`, `kiln_pack_b`.
    pub contract: FuncId,
    pub contract_packed: FuncId,
    pub pack: FuncId,
    /// In the order of [`Math::ALL`].
    pub math: Vec<FuncId>,
    /// In the order of [`kiln_loops::TileMap::ALL`].
    pub maps: Vec<FuncId>,
    /// In the order of the descriptors.
    pub descriptors: Vec<DataId>,
    /// In the order of [`crate::wide::Wide::functions`].
    pub wide: Vec<FuncId>,
}

/// The signature of every kernel: argument table, scratch, first and last (exclusive) iteration.
pub(crate) fn kernel_signature(isa: &OwnedTargetIsa) -> Signature {
    signature(isa, 4)
}

/// A function of so many pointers or sizes that returns nothing.
pub(crate) fn signature(isa: &OwnedTargetIsa, params: usize) -> Signature {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params.extend((0..params).map(|_| AbiParam::new(I64)));
    signature
}

/// Where a kernel's scratch memory holds what.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScratchLayout {
    /// Byte offsets of the locals.
    pub locals: Vec<usize>,
    /// Byte offset of the contractions' scratch.
    pub contract: usize,
    /// All of it.
    pub bytes: usize,
}

/// A kernel with what its code depends on.
#[derive(Clone, Copy)]
pub(crate) struct Source<'k> {
    pub kernel: &'k Kernel,
    /// The types of its arguments.
    pub dtypes: &'k [DType],
    pub scratch: &'k ScratchLayout,
}

/// The value of a loop's variable, or a bound.
#[derive(Clone, Copy, Debug)]
pub(super) enum Iter {
    Const(i64),
    Value(Value),
}

/// An open loop.
#[derive(Clone, Copy)]
pub(super) struct Loop {
    /// The number of loops around it.
    depth: usize,
    value: Iter,
    /// The greatest value of the variable.
    last: i64,
    /// Every value is a multiple of this.
    multiple: i64,
}

/// The open vector loop.
pub(super) struct Vector {
    var: Var,
    /// Vectors that a turn works on.
    unroll: usize,
    sums: HashMap<Reg, Sum>,
}

/// Vectors that accumulate for a register declared outside of the vector loop.
pub(super) struct Sum {
    order: usize,
    fold: Fold,
    dtype: DType,
    parts: Vec<Variable>,
}

/// A scalar; or in a vector loop one vector for each that a turn works on, or one for all.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    len: usize,
    values: [Value; LANES],
    /// Whether all lanes are known to be equal.
    uniform: bool,
}

impl Lanes {
    /// A scalar, or a vector whose lanes are all equal.
    fn one(value: Value) -> Lanes {
        Lanes { len: 1, values: [value; LANES], uniform: true }
    }

    /// Vectors whose lanes differ.
    fn many(len: usize, mut part: impl FnMut(usize) -> Value) -> Lanes {
        let mut values = [part(0); LANES];
        for (i, value) in values.iter_mut().enumerate().take(len).skip(1) {
            *value = part(i);
        }
        Lanes { len, values, uniform: false }
    }

    fn get(&self, i: usize) -> Value {
        self.values[i.min(self.len - 1)]
    }
}

/// What a register stands for.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    dtype: DType,
    held: Held,
}

#[derive(Clone, Copy)]
pub(super) enum Held {
    Value(Lanes),
    /// A mutable register, and how many of the variables it has.
    Mutable([Variable; LANES], usize),
}

pub(super) struct Emitter<'f, 'k> {
    b: FunctionBuilder<'f>,
    link: &'k Linkage,
    descriptors: &'k Descriptors,
    /// Vector loops that are functions of their own.
    calls: &'k Calls,
    kernel: &'k Kernel,
    dtypes: &'k [DType],
    args: Vec<Value>,
    locals: Vec<Value>,
    contract_scratch: Value,
    /// The iterations to run of the parallel loop that comes next.
    share: (Value, Value),
    vars: HashMap<Var, Loop>,
    regs: HashMap<Reg, Slot>,
    constants: HashMap<Reg, Scalar>,
    /// Registers defined ahead of the loop that holds their definition.
    hoisted: HashSet<Reg>,
    addresses: Addresses,
    vector: Option<Vector>,
    functions: HashMap<FuncId, FuncRef>,
}

/// Writes the function of a kernel.
pub(crate) fn emit(
    link: &Linkage,
    descriptors: &Descriptors,
    calls: &Calls,
    source: Source<'_>,
    function: &mut Function,
    scope: &mut FunctionBuilderContext,
) {
    function.signature = kernel_signature(&link.isa);
    let Source { kernel, dtypes, scratch } = source;
    let mut b = FunctionBuilder::new(function, scope);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let &[table, scratch_base, lo, hi] = b.block_params(entry) else {
        unreachable!("the signature has four parameters")
    };
    let flags = ops::access();
    let args =
        (0..kernel.args.len() as i32).map(|n| b.ins().load(I64, flags, table, 8 * n)).collect();
    let at = |b: &mut FunctionBuilder<'_>, offset: usize| match offset {
        0 => scratch_base,
        _ => b.ins().iadd_imm_s(scratch_base, offset as i64),
    };
    let locals = scratch.locals.iter().map(|&offset| at(&mut b, offset)).collect();
    let contract_scratch = at(&mut b, scratch.contract);
    let mut emitter = Emitter {
        b,
        link,
        descriptors,
        calls,
        kernel,
        dtypes,
        args,
        locals,
        contract_scratch,
        share: (lo, hi),
        vars: HashMap::new(),
        regs: HashMap::new(),
        constants: HashMap::new(),
        hoisted: HashSet::new(),
        addresses: Addresses::default(),
        vector: None,
        functions: HashMap::new(),
    };
    emitter.statements(&kernel.body);
    emitter.b.ins().return_(&[]);
    emitter.b.finalize(link.isa.frontend_config());
}

impl Emitter<'_, '_> {
    fn statements(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.statement(stmt);
        }
    }

    fn statement(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::For(f) => self.for_loop(f),
            Stmt::Let(reg, inst) => {
                if !self.hoisted.contains(reg) {
                    self.define(*reg, inst);
                }
            }
            Stmt::Mut(reg, init) => {
                let (dtype, lanes) = self.read(*init);
                let ty = ops::value_type(dtype, self.is_wide());
                let len = self.unroll();
                let first = self.b.declare_var(ty);
                let mut parts = [first; LANES];
                for part in &mut parts[1..len] {
                    *part = self.b.declare_var(ty);
                }
                self.regs.insert(*reg, Slot { dtype, held: Held::Mutable(parts, len) });
                self.assign(&parts[..len], lanes);
            }
            Stmt::Set(reg, value) => {
                let (_, lanes) = self.read(*value);
                if let Held::Mutable(parts, len) = self.regs[reg].held {
                    self.assign(&parts[..len], lanes);
                }
            }
            Stmt::Accumulate(reg, fold, value) => self.accumulate(*reg, *fold, *value),
            Stmt::Store(mem, index, value) => {
                let (dtype, lanes) = self.read(*value);
                let (at, offset) = self.address(*mem, index);
                let wide = self.is_wide();
                for part in 0..self.unroll() {
                    let offset = offset + (part * LANES * dtype.bytes()) as i32;
                    ops::store(&mut self.b, dtype, wide, lanes.get(part), at, offset);
                }
            }
            Stmt::Block(block) => self.block(block),
            Stmt::Contract(contract) => self.contract(contract),
            Stmt::Pack(pack) => self.pack(pack),
            Stmt::Transform(transform) => self.transform(transform),
        }
    }

    fn is_wide(&self) -> bool {
        self.vector.is_some()
    }

    /// Values that stand for a register that differs between them.
    fn unroll(&self) -> usize {
        self.vector.as_ref().map_or(1, |v| v.unroll)
    }

    fn read(&mut self, reg: Reg) -> (DType, Lanes) {
        let slot = self.regs[&reg];
        let lanes = match slot.held {
            Held::Value(lanes) => lanes,
            Held::Mutable(parts, len) => Lanes::many(len, |i| self.b.use_var(parts[i])),
        };
        (slot.dtype, lanes)
    }

    fn assign(&mut self, parts: &[Variable], lanes: Lanes) {
        for (i, &part) in parts.iter().enumerate() {
            self.b.def_var(part, lanes.get(i));
        }
    }

    fn accumulate(&mut self, reg: Reg, fold: Fold, value: Reg) {
        let (dtype, lanes) = self.read(value);
        let parts: Vec<Variable> = match &self.vector {
            Some(Vector { sums, unroll, .. }) if sums.contains_key(&reg) => {
                sums[&reg].parts[..*unroll].to_vec()
            }
            _ => match self.regs[&reg].held {
                Held::Mutable(parts, len) => parts[..len].to_vec(),
                Held::Value(_) => return, // the verifier refuses it
            },
        };
        let wide = self.is_wide();
        for (i, part) in parts.into_iter().enumerate() {
            let before = self.b.use_var(part);
            let after = ops::fold(&mut self.b, fold, dtype, wide, before, lanes.get(i));
            self.b.def_var(part, after);
        }
    }

    /// Gives a register its value.
    fn define(&mut self, reg: Reg, inst: &Inst) {
        if let Inst::Const(value) = inst {
            self.constants.insert(reg, *value);
        }
        let (dtype, lanes) = self.inst(inst);
        self.regs.insert(reg, Slot { dtype, held: Held::Value(lanes) });
    }

    fn inst(&mut self, inst: &Inst) -> (DType, Lanes) {
        let wide = self.is_wide();
        match inst {
            Inst::Const(value) => {
                let scalar = ops::constant(&mut self.b, *value);
                (value.dtype(), self.everywhere(value.dtype(), scalar))
            }
            Inst::Load(mem, index) => self.load(*mem, index),
            Inst::Affine(e) => (DType::I32, self.affine_lanes(e)),
            Inst::Unary(op, x) => {
                let (dtype, x) = self.read(*x);
                (dtype, self.map([x], |b, [x]| ops::unary(b, *op, dtype, wide, x)))
            }
            Inst::Binary(op, x, y) => {
                let known = [self.constants.get(x).copied(), self.constants.get(y).copied()];
                let ((dtype, x), (_, y)) = (self.read(*x), self.read(*y));
                let uniform = [x.uniform, y.uniform];
                let operand =
                    |i: usize, value| Operand { value, known: known[i], uniform: uniform[i] };
                let value = self.map([x, y], |b, [x, y]| {
                    ops::binary(b, *op, dtype, wide, operand(0, x), operand(1, y))
                });
                (dtype, value)
            }
            Inst::Compare(op, x, y) => {
                let ((dtype, x), (_, y)) = (self.read(*x), self.read(*y));
                (DType::Bool, self.map([x, y], |b, [x, y]| ops::compare(b, *op, dtype, x, y)))
            }
            Inst::Select(cond, x, y) => {
                let (_, cond) = self.read(*cond);
                let ((dtype, x), (_, y)) = (self.read(*x), self.read(*y));
                let value =
                    self.map([cond, x, y], |b, [cond, x, y]| ops::choose(b, wide, cond, x, y));
                (dtype, value)
            }
            Inst::Cast(to, x) => {
                let (from, x) = self.read(*x);
                (*to, self.map([x], |b, [x]| ops::cast(b, *to, from, wide, x)))
            }
            Inst::Call(function, x) => {
                let (_, x) = self.read(*x);
                (DType::F32, self.call_on_stack(*function, x))
            }
            Inst::Clamp(x, extent) => {
                let (_, x) = self.read(*x);
                (DType::I32, self.map([x], |b, [x]| ops::clamp(b, wide, x, *extent)))
            }
        }
    }

    /// Applies a function to each of the vectors that differ.
    fn map<const N: usize>(
        &mut self,
        operands: [Lanes; N],
        mut f: impl FnMut(&mut FunctionBuilder<'_>, [Value; N]) -> Value,
    ) -> Lanes {
        let len = operands.iter().map(|o| o.len).max().unwrap_or(1);
        let uniform = operands.iter().all(|o| o.uniform);
        let result = Lanes::many(len, |i| f(&mut self.b, operands.map(|o| o.get(i))));
        Lanes { uniform, ..result }
    }

    /// A scalar, in all lanes if in a vector loop.
    fn everywhere(&mut self, dtype: DType, scalar: Value) -> Lanes {
        Lanes::one(match self.is_wide() {
            true => ops::splat(&mut self.b, dtype, scalar),
            false => scalar,
        })
    }

    fn load(&mut self, mem: Mem, index: &kiln_loops::Index) -> (DType, Lanes) {
        let dtype = self.element(mem);
        let (at, offset) = self.address(mem, index);
        let follows = self.vector.as_ref().is_some_and(|v| index.affine.coefficient(v.var) == 1);
        if !follows {
            let scalar = ops::load(&mut self.b, dtype, false, at, offset);
            return (dtype, self.everywhere(dtype, scalar));
        }
        let step = (LANES * dtype.bytes()) as i32;
        let lanes = Lanes::many(self.unroll(), |part| {
            ops::load(&mut self.b, dtype, true, at, offset + part as i32 * step)
        });
        (dtype, lanes)
    }

    fn affine_lanes(&mut self, e: &Affine) -> Lanes {
        let value = self.affine(e);
        let scalar = self.b.ins().ireduce(I32, value);
        let lanes = self.everywhere(DType::I32, scalar);
        let Some(vector) = &self.vector else { return lanes };
        let (len, step) = (vector.unroll, e.coefficient(vector.var) as i32);
        if step == 0 {
            return lanes;
        }
        Lanes::many(len, |part| {
            let at = |lane: usize| step.wrapping_mul((part * LANES + lane) as i32);
            let ahead = ops::words(&mut self.b, std::array::from_fn(at));
            self.b.ins().iadd(lanes.get(0), ahead)
        })
    }

    /// Calls a block function on values by way of the stack.
    fn call_on_stack(&mut self, function: Math, x: Lanes) -> Lanes {
        let size = if self.is_wide() { 16 } else { 4 };
        let bytes = (size * x.len) as u32;
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            bytes,
            4,
        ));
        let at = self.b.ins().stack_addr(I64, slot, 0);
        let ty = ops::value_type(DType::F32, self.is_wide());
        let flags = ops::access();
        for i in 0..x.len {
            self.b.ins().store(flags, x.get(i), at, (i * size) as i32);
        }
        let n = self.b.ins().iconst(I64, (x.len * size / 4) as i64);
        self.call(self.link.math[function as usize], &[at, at, n]);
        let result = Lanes::many(x.len, |i| self.b.ins().load(ty, flags, at, (i * size) as i32));
        Lanes { uniform: x.uniform, ..result }
    }

    /// Calls a function of pointers and sizes.
    fn call(&mut self, function: FuncId, args: &[Value]) {
        let reference = match self.functions.get(&function) {
            Some(&reference) => reference,
            None => {
                let signature = signature(&self.link.isa, args.len());
                let signature = self.b.import_signature(signature);
                let name = UserExternalName { namespace: 0, index: function.as_u32() };
                let name = self.b.func.declare_imported_user_function(name);
                let reference = self.b.import_function(ExtFuncData {
                    name: ExternalName::user(name),
                    signature,
                    colocated: false,
                    patchable: false,
                });
                self.functions.insert(function, reference);
                reference
            }
        };
        self.b.ins().call(reference, args);
    }

    /// The address of a data object, by its symbol.
    fn data(&mut self, data: DataId) -> Value {
        let name = UserExternalName { namespace: 1, index: data.as_u32() };
        let name = self.b.func.declare_imported_user_function(name);
        let symbol: GlobalValue = self.b.create_global_value(GlobalValueData::Symbol {
            name: ExternalName::user(name),
            offset: 0.into(),
            colocated: false,
            tls: false,
        });
        self.b.ins().symbol_value(I64, symbol)
    }
}
