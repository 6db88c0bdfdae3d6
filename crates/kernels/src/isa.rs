//! The instruction set in use: found once, carried as a value that proves it.

use std::fmt;

/// Proof that this processor has AVX2 and FMA: [`Avx2::detect`] is the only way to get one.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(pub(crate) ());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The proof, if the processor and the operating system support AVX2 and FMA.
    pub fn detect() -> Option<Avx2> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// Proof that this processor has AVX-512 F, VL, BW and DQ, and with them AVX2, FMA and BMI2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(pub(crate) ());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The proof, if the processor and the operating system support all of them.
    pub fn detect() -> Option<Avx512> {
        (Avx2::detect().is_some()
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq"))
        .then_some(Avx512(()))
    }
}

/// Proof that this processor has NEON.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(pub(crate) ());

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// The proof, if the processor supports NEON.
    pub fn detect() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// An instruction set that the micro-kernels are compiled for and this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust: every processor.
    Generic,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 512-bit vectors with masks.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 128-bit vectors of 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Isa {
    /// The widest instruction set of this processor, or the one that the environment variable
    /// `KILN_ISA` names.
    ///
    /// # Errors
    /// `KILN_ISA` names an instruction set that does not exist or that this processor lacks.
    pub fn detect() -> Result<Isa, IsaError> {
        match std::env::var_os("KILN_ISA") {
            Some(name) => Isa::named(&name.to_string_lossy()),
            None => Ok(Isa::widest()),
        }
    }

    /// The available instruction set called `name`: `generic`, `avx2`, `avx512` or `neon`.
    ///
    /// # Errors
    /// No such instruction set, or this processor lacks it.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        Isa::available()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| IsaError { asked: name.to_owned() })
    }

    /// Every instruction set of this processor, narrowest first; `Generic` is always there.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)] // other architectures have the generic one alone
        let mut found = vec![Isa::Generic];
        #[cfg(target_arch = "x86_64")]
        {
            found.extend(Avx2::detect().map(Isa::Avx2));
            found.extend(Avx512::detect().map(Isa::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        found.extend(Neon::detect().map(Isa::Neon));
        found
    }

    /// The name that `KILN_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Generic => "generic",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
        }
    }

    fn widest() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Generic)
    }
}

/// `KILN_ISA` asks for an instruction set that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaError {
    asked: String,
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let available: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
        write!(
            f,
            "instruction set `{}` is not available on this machine; KILN_ISA may be {}",
            self.asked.escape_debug(),
            available.join(", ")
        )
    }
}

impl std::error::Error for IsaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_is_found_by_its_name() {
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Ok(isa));
        }
        assert!(Isa::available().contains(&Isa::widest()));
    }

    #[test]
    fn an_unknown_set_is_refused_and_the_available_ones_are_named() {
        let message = Isa::named("avx1024").unwrap_err().to_string();
        assert!(message.contains("`avx1024`") && message.contains("generic"), "{message}");
    }
}
