//! How a verb fails.

use std::process::ExitCode;

use crate::output;

/// The exit code for a mistake in what the user gave.
const INPUT: u8 = 1;
/// The exit code for a defect of Kiln's.
pub const DEFECT: u8 = 70;

/// Why a verb ended early.
#[derive(Debug)]
pub enum Failure {
    /// Something is wrong.
    Error(kiln::Error),
    /// What was found wrong has been printed as the verb's result.
    Reported,
    /// Nobody reads standard output any more, so there is nothing to do.
    ClosedPipe,
}

impl Failure {
    /// A mistake of the user's, in words that name the thing.
    pub fn input(message: impl std::fmt::Display) -> Failure {
        Failure::Error(kiln::Error::input(message))
    }

    /// Says on standard error what is wrong; the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Error(kiln::Error::Program(diagnostics)) => {
                output::error(diagnostics.render(output::has_colours()).trim_end());
                ExitCode::from(INPUT)
            }
            Failure::Error(error) => {
                output::error(&error.to_string());
                ExitCode::from(if error.is_defect() { DEFECT } else { INPUT })
            }
            Failure::Reported => ExitCode::from(INPUT),
            Failure::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

impl From<kiln::Error> for Failure {
    fn from(error: kiln::Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<kiln_train::Error> for Failure {
    fn from(error: kiln_train::Error) -> Failure {
        Failure::Error(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whose_mistake_it_was() {
        let code = |failure: Failure| format!("{:?}", failure.report());
        let expected = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(Failure::input("no such file")), expected(1));
        assert_eq!(code(Failure::Reported), expected(1));
        assert_eq!(code(Failure::Error(kiln::Error::defect("lost"))), expected(70));
        assert_eq!(code(Failure::ClosedPipe), expected(0));
        let program = kiln::parse("model", "m.kiln").expect_err("it ends early");
        assert_eq!(code(program.into()), expected(1));
    }
}
