//! Machine code in memory: compiled kernel by kernel on all cores, linked, freed with its owner.

use std::sync::Mutex;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage as Visibility, Module, ModuleReloc, default_libcall_names};
use kiln_kernels::Isa;
use kiln_loops::{Math, TileMap};
use rayon::prelude::*;

use crate::emit::contract::Descriptors;
use crate::emit::{Linkage, Source, emit, kernel_signature, signature};
use crate::error::Error;
use crate::wide::{Calls, Wide};

/// A compiled kernel: the addresses of its arguments, the thread's scratch memory, and the first
/// and last (exclusive) iteration of its parallel loop.
pub(crate) type Entry = unsafe extern "C" fn(*const *mut u8, *mut u8, i64, i64);

/// The machine code of a program's kernels. Entries are valid as long as it lives.
pub(crate) struct Code {
    /// Taken when dropped; behind a lock because a module may not be shared between threads.
    module: Mutex<Option<JITModule>>,
    pub entries: Vec<Entry>,
    pub bytes: usize,
    pub link: Linkage,
    wide: Wide,
}

impl Drop for Code {
    fn drop(&mut self) {
        let module = self.module.get_mut().map(Option::take).unwrap_or_default();
        if let Some(module) = module {
            // SAFETY: entries are reachable through `self` alone, which nobody holds any more.
            unsafe { module.free_memory() };
        }
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A function's machine code, not yet in its place.
struct Compiled {
    bytes: Vec<u8>,
    alignment: u64,
    relocations: Vec<ModuleReloc>,
}

/// The state that compilations on one thread share.
struct Worker {
    context: cranelift_codegen::Context,
    scope: FunctionBuilderContext,
}

impl Worker {
    fn new() -> Worker {
        Worker { context: cranelift_codegen::Context::new(), scope: FunctionBuilderContext::new() }
    }
}

/// The processor that runs this, and how to compile for it.
fn target() -> Result<OwnedTargetIsa, Error> {
    let unsupported = |e: &dyn std::fmt::Display| Error::Processor(e.to_string());
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "none"),
        ("regalloc_algorithm", "backtracking"),
        ("enable_verifier", verifier),
        ("log2_min_function_alignment", "5"),
        ("enable_nan_canonicalization", "false"),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(|e| unsupported(&e))?;
    }
    let builder = cranelift_native::builder().map_err(|e| unsupported(&e))?;
    builder.finish(settings::Flags::new(flags)).map_err(|e| unsupported(&e))
}

impl Code {
    /// Compiles and links distinct kernels. An error names the position of the kernel.
    pub fn new(sources: &[Source<'_>], descriptors: &Descriptors, isa: Isa) -> Result<Code, Error> {
        let target = target()?;
        let mut builder = JITBuilder::with_isa(target.clone(), default_libcall_names());
        builder.symbols(kiln_kernels::symbols(isa));
        let name = |n: usize| format!("kiln_contraction_{n}");
        for (n, descriptor) in descriptors.list.iter().enumerate() {
            builder.symbol(name(n), (&raw const *descriptor.contraction).cast());
        }
        let mut module = JITModule::new(builder);
        let mut import = |name: &str, params: usize| {
            let signature = signature(&target, params);
            module.declare_function(name, Visibility::Import, &signature).map_err(linking)
        };
        let contract = import("kiln_contract", 7)?;
        let contract_packed = import("kiln_contract_packed", 7)?;
        let pack = import("kiln_pack_b", 5)?;
        let math = Math::ALL.iter().map(|f| import(&format!("kiln_{}", f.name()), 3));
        let math = math.collect::<Result<_, _>>()?;
        let maps = TileMap::ALL.iter().map(|m| import(&format!("kiln_{}", m.name()), 15));
        let maps = maps.collect::<Result<_, _>>()?;
        let data = (0..descriptors.list.len()).map(|n| {
            module.declare_data(&name(n), Visibility::Import, false, false).map_err(linking)
        });
        let data = data.collect::<Result<_, _>>()?;
        let wide = Wide::of(sources, isa);
        let functions = (0..wide.functions.len()).map(|n| {
            let (name, signature) = (format!("loop_{n}"), signature(&target, 2));
            module.declare_function(&name, Visibility::Local, &signature).map_err(linking)
        });
        let functions = functions.collect::<Result<_, _>>()?;
        let link = Linkage {
            isa: target,
            contract,
            contract_packed,
            pack,
            math,
            maps,
            descriptors: data,
            wide: functions,
        };

        let mut ids = Vec::with_capacity(sources.len());
        for (n, source) in sources.iter().enumerate() {
            let name = symbol(&source.kernel.name, n);
            let signature = kernel_signature(&link.isa);
            let id = module.declare_function(&name, Visibility::Export, &signature);
            ids.push(id.map_err(linking)?);
        }
        let jobs: Vec<_> = sources.iter().zip(&wide.calls).zip(&ids).collect();
        let compiled: Vec<Result<Compiled, Error>> = jobs
            .par_iter()
            .map_init(Worker::new, |worker, ((source, calls), id)| {
                compile(worker, &link, descriptors, calls, **source, **id)
            })
            .collect();
        let mut bytes = 0;
        for (code, &id) in wide.functions.iter().zip(&link.wide) {
            bytes += code.len();
            module.define_function_bytes(id, 32, code, &[]).map_err(linking)?;
        }
        for (compiled, &id) in compiled.into_iter().zip(&ids) {
            let code = compiled?;
            bytes += code.bytes.len();
            module
                .define_function_bytes(id, code.alignment, &code.bytes, &code.relocations)
                .map_err(linking)?;
        }
        module.finalize_definitions().map_err(linking)?;
        let entry = |&id: &FuncId| {
            // SAFETY: the function was compiled with the signature of `Entry`.
            unsafe { std::mem::transmute::<*const u8, Entry>(module.get_finalized_function(id)) }
        };
        let entries = ids.iter().map(entry).collect();
        Ok(Code { module: Mutex::new(Some(module)), entries, bytes, link, wide })
    }

    /// Cranelift's intermediate form of the kernel at this position, and its machine code as
    /// Cranelift prints it; behind both the functions of its vector loops.
    pub fn text(
        &self,
        position: usize,
        source: Source<'_>,
        descriptors: &Descriptors,
    ) -> Result<(String, String), Error> {
        let calls = &self.wide.calls[position];
        let mut worker = Worker::new();
        worker.context.func = Function::new();
        let (function, scope) = (&mut worker.context.func, &mut worker.scope);
        emit(&self.link, descriptors, calls, source, function, scope);
        let clif = worker.context.func.display().to_string();
        worker.context.set_disasm(true);
        let code = worker
            .context
            .compile(&*self.link.isa, &mut ControlPlane::default())
            .map_err(|e| refused(source, &e.inner))?;
        let vcode = code.vcode.clone().unwrap_or_default();
        let mut called: Vec<usize> = calls.values().map(|c| c.function).collect();
        called.sort_unstable();
        called.dedup();
        let functions = called.into_iter().map(|n| {
            let listing = self.wide.listing(n);
            format!("\n; u0:{}, assembled\n{listing}", self.link.wide[n].as_u32())
        });
        let functions: String = functions.collect();
        Ok((clif + &functions, vcode + &functions))
    }
}

fn linking(error: cranelift_module::ModuleError) -> Error {
    Error::Link(error.to_string())
}

fn refused(source: Source<'_>, error: &cranelift_codegen::CodegenError) -> Error {
    Error::Codegen { kernel: source.kernel.describe(), message: error.to_string() }
}

fn compile(
    worker: &mut Worker,
    link: &Linkage,
    descriptors: &Descriptors,
    calls: &Calls,
    source: Source<'_>,
    id: FuncId,
) -> Result<Compiled, Error> {
    worker.context.clear();
    worker.context.func.name = UserFuncName::user(0, id.as_u32());
    emit(link, descriptors, calls, source, &mut worker.context.func, &mut worker.scope);
    let code = worker
        .context
        .compile(&*link.isa, &mut ControlPlane::default())
        .map_err(|e| refused(source, &e.inner))?;
    let (bytes, alignment) = (code.code_buffer().to_vec(), u64::from(code.buffer.alignment));
    let relocations = code.buffer.relocs().to_vec();
    let function = &worker.context.func;
    let relocations =
        relocations.iter().map(|r| ModuleReloc::from_mach_reloc(r, function, id)).collect();
    Ok(Compiled { bytes, alignment, relocations })
}

/// The symbol of a kernel: its name as far as symbols allow, and a number that makes it unique.
/// Profilers find names of three letters or more.
fn symbol(name: &str, number: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    let name: String = name.chars().take(80).map(plain).collect();
    format!("kernel_{number}_{name}")
}
