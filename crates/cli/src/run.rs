//! `kiln run`: inference on arrays from files.

use std::path::PathBuf;

use clap::Args;
use kiln::{Engine, Tensor};

use crate::arguments::{Program, Start, borrowed, engine, file, read_inputs};
use crate::failure::Failure;
use crate::output;

/// Run a model on arrays from npy files
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiln run dsl/models/lenet.kiln --weights lenet.safetensors --input image=x.npy --output prob=p.npy
  kiln run dsl/models/lenet.kiln --weights lenet.safetensors --input image=x.npy --engine eval

Free axes that --set does not bind have the sizes of the inputs. Without --output a summary of every
output is printed.")]
pub struct Run {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    start: Start,
    /// The array of an input
    #[arg(long, value_name = "NAME=FILE", value_parser = file)]
    input: Vec<(String, PathBuf)>,
    /// Write an output as an npy file
    #[arg(long, value_name = "NAME=FILE", value_parser = file)]
    output: Vec<(String, PathBuf)>,
    /// Machine code (jit), the interpreter of the loop IR (loops) or the f64 reference (eval)
    #[arg(long, value_name = "ENGINE", default_value = "jit", value_parser = engine)]
    engine: Engine,
}

impl Run {
    /// Runs; writes the outputs that were asked for.
    pub fn run(self) -> Result<(), Failure> {
        self.output.iter().try_for_each(|(_, path)| output::check(path))?;
        let model = self.program.model()?;
        let inputs = read_inputs(&self.input)?;
        let inputs = borrowed(&inputs);
        let options = self.program.options().engine(self.engine);
        let options = model.bind_from(&options, &inputs)?;
        let executable = kiln::compile(&model.inference()?, &options)?;
        let known: Vec<&str> =
            executable.elaborated().outputs.iter().map(|o| o.name.as_str()).collect();
        if let Some((name, _)) =
            self.output.iter().find(|(name, _)| !known.contains(&name.as_str()))
        {
            let known = known.join(", ");
            return Err(Failure::input(format!("no output is called `{name}` (outputs: {known})")));
        }
        let mut session = executable.session()?;
        let weights = self.start.weights(&model, &options, &session.weight_types())?;
        session.set_weights(weights)?;
        session.release_weights();
        let outputs = session.run(&inputs)?;
        for (name, path) in &self.output {
            outputs[name.as_str()].write_npy(path).map_err(|e| {
                Failure::input(format!("cannot write {}: {}", path.display(), e.problem))
            })?;
        }
        if self.output.is_empty() {
            for (name, tensor) in outputs.iter() {
                output::line(&format!("{name}: {}", summary(tensor)))?;
            }
        }
        Ok(())
    }
}

/// Type and shape, and what the elements are like.
fn summary(tensor: &Tensor) -> String {
    let text = format!("{}{}", tensor.dtype(), tensor.shape());
    let Some(elements) = tensor.as_f32().filter(|e| e.len() > 16) else {
        return format!("{tensor:?}");
    };
    let real = elements.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x));
    let (count, sum) = real.clone().fold((0usize, 0.0), |(n, sum), x| (n + 1, sum + x));
    let low = real.clone().fold(f64::INFINITY, f64::min);
    let high = real.fold(f64::NEG_INFINITY, f64::max);
    let odd = elements.len() - count;
    let odd = if odd > 0 { format!(", {odd} not finite") } else { String::new() };
    if count == 0 {
        return format!("{text}{odd}");
    }
    format!("{text} from {low:.6} to {high:.6}, mean {:.6}{odd}", sum / count as f64)
}
