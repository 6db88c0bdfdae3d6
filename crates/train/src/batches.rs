//! Batches: examples in the epoch's order, as tensors of a fixed size, prepared ahead of the step that takes them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use kiln_tensor::{DType, Data, DataMut, Shape, Tensor, TensorError};

use crate::column::Column;
use crate::random::{Draws, Purpose, shuffled};
use crate::{DataStep, Dataset, Error, FieldType};

/// What becomes of the examples left over when the batch size does not divide their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// They are left out, for training: every step counts the same. With shuffling others are left out each epoch.
    Drop,
    /// They make a last batch with fewer valid rows, for validation: every example counts once.
    Pad,
}

impl Last {
    /// The number of batches of `batch` examples that `examples` make.
    ///
    /// # Panics
    /// If `batch` is 0.
    pub fn batches(self, examples: usize, batch: usize) -> usize {
        match self {
            Last::Drop => examples / batch,
            Last::Pad => examples.div_ceil(batch),
        }
    }
}

/// The fields of a batch: name and tensor, whose first axis counts the examples.
type Fields = Vec<(String, Tensor)>;

/// Some examples as tensors.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The wanted fields, in their order: name, and `[N, ...]`.
    pub fields: &'a [(String, Tensor)],
    /// The first so many of the N rows are examples, at least 1; the rest repeat the first row and must not count.
    pub rows: usize,
}

impl Batch<'_> {
    /// The field of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, tensor)| tensor)
    }

    /// Whether every row is an example.
    pub fn is_full(&self) -> bool {
        self.fields.iter().all(|(_, tensor)| tensor.shape()[0] == self.rows)
    }

    /// The fields of the valid rows alone.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn trimmed(&self) -> Result<Vec<(String, Tensor)>, TensorError> {
        let trim = |(name, tensor): &(String, Tensor)| {
            let mut dims = tensor.shape().to_vec();
            dims[0] = self.rows;
            let shape = Shape::new(dims)?;
            let n = shape.elements();
            let data = match tensor.data() {
                Data::F32(v) => Data::F32(v[..n].to_vec()),
                Data::I32(v) => Data::I32(v[..n].to_vec()),
                Data::Bool(v) => Data::Bool(v[..n].to_vec()),
            };
            Ok((name.clone(), Tensor::new(shape, data)?))
        };
        self.fields.iter().map(trim).collect()
    }
}

/// So many batches wait for the step that takes them, at most.
const AHEAD: usize = 2;

/// A data set cut into batches, epoch after epoch.
///
/// What a batch holds is a function of the data, the seed, the epoch and the batch's number alone. A thread prepares
/// the next few while the current one is in use.
#[derive(Debug)]
pub struct Batches {
    plan: Arc<Plan>,
    epoch: u64,
    /// The number of the next batch.
    next: usize,
    worker: Option<Worker>,
    current: Option<Prepared>,
}

/// How batches are made.
#[derive(Debug)]
struct Plan {
    data: Dataset,
    columns: Vec<Column>,
    batch: usize,
    seed: u32,
    shuffle: bool,
    last: Last,
}

/// A batch that owns its fields.
#[derive(Debug)]
struct Prepared {
    fields: Fields,
    rows: usize,
}

/// The thread that prepares the batches of an epoch.
#[derive(Debug)]
struct Worker {
    /// Batches in order; the channel holds as many as wait.
    ready: Receiver<Result<Prepared, Error>>,
    /// Batches that are done with, whose memory is used again.
    used: SyncSender<Fields>,
    thread: JoinHandle<()>,
}

impl Batches {
    /// Batches of `batch` examples with the wanted fields, at the start of epoch 0.
    ///
    /// # Errors
    /// If `batch` is 0, or more than there are examples where the last are dropped; if the data set lacks a field, or
    /// has it in another shape than wanted, or values that are no class of the program; if a step is senseless (a
    /// scale or mean that is not finite, a deviation of 0, a wrong number of channels) or has nothing to work on; if
    /// the memory cannot be had.
    pub fn new(
        data: Dataset,
        wanted: &[FieldType],
        steps: &[DataStep],
        batch: usize,
        seed: u32,
        last: Last,
    ) -> Result<Batches, Error> {
        if batch == 0 {
            return Err(Error::Setting("a batch of 0 examples".to_string()));
        }
        if last.batches(data.len(), batch) == 0 {
            let examples = data.len();
            return Err(Error::Setting(format!(
                "a batch of {batch} examples is more than the {examples} there are"
            )));
        }
        let columns = wanted.iter().map(|want| Column::new(&data, want, steps));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let works = wanted.iter().any(|want| want.input && want.dtype == DType::F32);
        if !works && steps.iter().any(|step| *step != DataStep::Shuffle) {
            let message = "the data set's values are changed, but the model takes no real numbers";
            return Err(Error::Setting(message.to_string()));
        }
        let shuffle = steps.contains(&DataStep::Shuffle);
        let plan = Plan { data, columns, batch, seed, shuffle, last };
        // What would not fit is told now, before anything is compiled for it.
        plan.memory()?;
        Ok(Batches { plan: plan.into(), epoch: 0, next: 0, worker: None, current: None })
    }

    /// The number of examples the batches are of.
    pub fn examples(&self) -> usize {
        self.plan.data.len()
    }

    /// Examples in a batch.
    pub fn batch(&self) -> usize {
        self.plan.batch
    }

    /// Batches in an epoch, at least 1.
    pub fn per_epoch(&self) -> usize {
        self.plan.per_epoch()
    }

    /// Examples in an epoch: without those that are dropped.
    pub fn examples_per_epoch(&self) -> usize {
        self.examples().min(self.per_epoch().saturating_mul(self.batch()))
    }

    /// Goes to the start of an epoch, and to its order if the pipeline shuffles.
    pub fn start(&mut self, epoch: u64) {
        self.stop();
        self.epoch = epoch;
        self.next = 0;
    }

    /// The next batch; `None` at the end of the epoch. It takes the place of the previous one.
    ///
    /// # Errors
    /// If an example cannot be read, or the memory not be had.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, Error> {
        if self.next == self.per_epoch() {
            self.stop();
            return Ok(None);
        }
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.plan.clone(), self.epoch)?,
        };
        let worker = self.worker.insert(worker);
        if let Some(current) = self.current.take() {
            // At the end of the epoch the worker needs no more memory, and is gone.
            let _ = worker.used.send(current.fields);
        }
        let gone = |_| Error::Setting("the thread that prepares batches ended early".to_string());
        let prepared = worker.ready.recv().map_err(gone)??;
        self.next += 1;
        let current = self.current.insert(prepared);
        Ok(Some(Batch { fields: &current.fields, rows: current.rows }))
    }

    /// Ends the worker.
    fn stop(&mut self) {
        self.current = None;
        if let Some(Worker { ready, used, thread }) = self.worker.take() {
            // Without a reader or memory it ends at its next batch.
            drop((ready, used));
            // A panic of its own was told by whoever waited for its batch.
            let _ = thread.join();
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Worker {
    fn start(plan: Arc<Plan>, epoch: u64) -> Result<Worker, Error> {
        let (give, ready) = sync_channel(AHEAD);
        let (used, take) = sync_channel(AHEAD + 1);
        let work = move || {
            let order = plan.shuffle.then(|| {
                let count = u32::try_from(plan.data.len()).expect("checked by the data set");
                shuffled(count, plan.seed, Purpose::Epoch, epoch)
            });
            for number in 0..plan.per_epoch() {
                // One batch is in use, some wait; then memory comes back.
                let memory = match number {
                    0..=AHEAD => plan.memory(),
                    _ => match take.recv() {
                        Ok(fields) => Ok(fields),
                        Err(_) => return,
                    },
                };
                let made =
                    memory.and_then(|fields| plan.prepare(order.as_deref(), epoch, number, fields));
                let failed = made.is_err();
                if give.send(made).is_err() || failed {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("batches".to_string()).spawn(work);
        let thread =
            thread.map_err(|e| Error::Setting(format!("no thread to prepare batches on: {e}")))?;
        Ok(Worker { ready, used, thread })
    }
}

impl Plan {
    fn per_epoch(&self) -> usize {
        self.last.batches(self.data.len(), self.batch)
    }

    /// Memory for one batch.
    fn memory(&self) -> Result<Fields, Error> {
        let field = |column: &Column| {
            let dims: Vec<usize> =
                std::iter::once(self.batch).chain(column.shape.iter().copied()).collect();
            let shape = Shape::new(dims).map_err(TensorError::from)?;
            Ok((column.name.clone(), Tensor::zeros(shape, column.dtype)?))
        };
        self.columns.iter().map(field).collect()
    }

    /// Writes a batch of an epoch.
    fn prepare(
        &self,
        order: Option<&[u32]>,
        epoch: u64,
        number: usize,
        mut fields: Fields,
    ) -> Result<Prepared, Error> {
        let begin = number * self.batch;
        let rows = self.batch.min(self.data.len() - begin);
        let draws = (begin..begin + rows).map(|i| {
            let example = order.map_or(i as u32, |order| order[i]);
            Draws { seed: self.seed, epoch, example }
        });
        let draws: Vec<Draws> = draws.collect();
        for (column, (_, tensor)) in self.columns.iter().zip(&mut fields) {
            column.write(&self.data, &draws, self.shuffle, tensor)?;
            for row in rows..self.batch {
                repeat_first(tensor, row);
            }
        }
        Ok(Prepared { fields, rows })
    }
}

/// Makes a row the first one's copy.
fn repeat_first(tensor: &mut Tensor, row: usize) {
    let size: usize = tensor.shape()[1..].iter().product();
    match tensor.data_mut() {
        DataMut::F32(v) => v.copy_within(..size, row * size),
        DataMut::I32(v) => v.copy_within(..size, row * size),
        DataMut::Bool(v) => v.copy_within(..size, row * size),
    }
}

#[cfg(test)]
mod tests;
