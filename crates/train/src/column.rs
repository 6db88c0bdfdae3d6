//! One field of a data set as the program wants it: checked against what there is, and written example by example.

use kiln_tensor::{DType, DataMut, Tensor};
use rayon::prelude::*;

use crate::data::{Field, Values};
use crate::random::Draws;
use crate::transform::Transform;
use crate::{DataStep, Dataset, Error, FieldType};

/// A field that every batch has.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its number in the data set.
    field: usize,
    pub name: String,
    pub dtype: DType,
    /// The shape of one example's part.
    pub shape: Vec<usize>,
    /// What is done to real numbers.
    transform: Option<Transform>,
}

impl Column {
    /// Compares what is wanted with what there is.
    pub fn new(data: &Dataset, want: &FieldType, steps: &[DataStep]) -> Result<Column, Error> {
        let Some(at) = data.fields().iter().position(|field| field.name() == want.name) else {
            let names: Vec<String> =
                data.fields().iter().map(|f| format!("`{}`", f.name())).collect();
            let origin = data.fields()[0].origin();
            let (name, place, names) = (&want.name, &want.place, names.join(" and "));
            let message = format!("it has no field `{name}` ({place}), but {names}");
            return Err(Error::file(origin, message));
        };
        let field = &data.fields()[at];
        let wrong = |found: &[usize], note: &str| {
            let list: Vec<String> = found.iter().map(usize::to_string).collect();
            let (name, list, place) = (&want.name, list.join(", "), &want.place);
            let message =
                format!("every `{name}` is {}[{list}]{note}, not {want} ({place})", field.dtype());
            Err(Error::file(field.origin(), message))
        };
        let fits = match want.dtype {
            DType::F32 => !matches!(field.values(), Values::Windows(_)),
            DType::I32 => field.dtype() == DType::I32,
            DType::Bool => false,
        };
        if !fits {
            return wrong(field.shape(), "");
        }
        // Grey images and single numbers may leave out axes of size 1 in front.
        let Some(missing) = want.axes.len().checked_sub(field.shape().len()) else {
            return wrong(field.shape(), "");
        };
        let mut shape = vec![1; missing];
        shape.extend_from_slice(field.shape());
        let mut transform = None;
        if want.dtype == DType::F32 {
            let axes: Vec<&str> = want.axes.iter().map(|(axis, _)| axis.as_str()).collect();
            let steps = if want.input { steps } else { &[] };
            let prepared = Transform::new(steps, &shape, &axes)
                .map_err(|e| Error::file(field.origin(), format!("`{}`: {e}", want.name)))?;
            let made = prepared.shape(shape.clone());
            if made != want.sizes() {
                let note = if made == shape { "" } else { " when cropped" };
                return wrong(&made, note);
            }
            (shape, transform) = (made, Some(prepared));
        } else if shape != want.sizes() {
            return wrong(field.shape(), "");
        }
        if let Some(classes) = want.classes.filter(|_| want.dtype == DType::I32) {
            check_classes(data, field, classes)?;
        }
        Ok(Column { field: at, name: want.name.clone(), dtype: want.dtype, shape, transform })
    }

    /// Writes the examples that the draws are for, one after the other.
    pub fn write(
        &self,
        data: &Dataset,
        draws: &[Draws],
        shuffled: bool,
        to: &mut Tensor,
    ) -> Result<(), Error> {
        let field = &data.fields()[self.field];
        let size: usize = self.shape.iter().product();
        match (to.data_mut(), &self.transform) {
            (DataMut::F32(to), Some(transform)) => {
                let write = |(to, &draws): (&mut [f32], &Draws)| {
                    field.write_f32(data.row(draws.example as usize), transform, draws, to)
                };
                if let Values::Images(_) = field.values() {
                    // Decoding takes all the cores there are; of several errors the first example's is told.
                    let rows = to.par_chunks_exact_mut(size).zip(draws);
                    let done: Vec<Result<(), Error>> = rows.map(write).collect();
                    return done.into_iter().collect();
                }
                to.chunks_exact_mut(size).zip(draws).try_for_each(write)?;
            }
            (DataMut::I32(to), None) => {
                for (to, &draws) in to.chunks_exact_mut(size).zip(draws) {
                    let row = data.row(draws.example as usize);
                    field.write_i32(row, shuffled.then_some(draws), to);
                }
            }
            _ => unreachable!("made for this column"),
        }
        Ok(())
    }
}

/// Refuses whole numbers outside `0..classes`: the program would take them for no class at all.
fn check_classes(data: &Dataset, field: &Field, classes: usize) -> Result<(), Error> {
    let valid = |value: i32| usize::try_from(value).is_ok_and(|value| value < classes);
    let wrong = |at: String, value: i32| {
        let last = classes.saturating_sub(1);
        let message = format!(
            "{at} is {value}, but the model knows {classes} classes of `{}`, 0..={last}",
            field.name()
        );
        Err(Error::file(field.origin(), message))
    };
    if let Values::Windows(windows) = field.values() {
        let bytes = windows.bytes();
        return match bytes.iter().position(|&byte| !valid(i32::from(byte))) {
            Some(at) => wrong(format!("byte {at}"), i32::from(bytes[at])),
            None => Ok(()),
        };
    }
    let mut values = vec![0; field.shape().iter().product()];
    for row in (0..data.len()).map(|i| data.row(i)) {
        field.write_i32(row, None, &mut values);
        if let Some(&value) = values.iter().find(|&&value| !valid(value)) {
            return wrong(format!("`{}` of example {row}", field.name()), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(name: &str, dtype: DType, axes: &[(&str, usize)]) -> FieldType {
        FieldType {
            name: name.to_string(),
            dtype,
            axes: axes.iter().map(|(axis, size)| ((*axis).to_string(), *size)).collect(),
            input: name != "label",
            classes: None,
            place: "m.kiln:1:9".to_string(),
        }
    }

    fn data() -> Dataset {
        let image = Field::bytes("image", &[2, 3], (0..12).collect());
        let label = Field::integers("label", &[], vec![3, -1]);
        Dataset::new(vec![image, label]).unwrap()
    }

    fn error(want: &FieldType, steps: &[DataStep]) -> String {
        let error = Column::new(&data(), want, steps).unwrap_err().to_string();
        error.strip_prefix("a data set: ").expect("the file is named").to_string()
    }

    #[test]
    fn what_does_not_fit_is_told_with_both_shapes() {
        assert_eq!(
            error(&want("token", DType::I32, &[("T", 4)]), &[]),
            "it has no field `token` (m.kiln:1:9), but `image` and `label`"
        );
        let image = |sizes: &[(&str, usize)]| want("image", DType::F32, sizes);
        assert_eq!(
            error(&image(&[("C", 1), ("H", 3), ("W", 3)]), &[]),
            "every `image` is i32[1, 2, 3], not image: f32[N, C=1, H=3, W=3] (m.kiln:1:9)"
        );
        assert_eq!(
            error(&image(&[("C", 6)]), &[]),
            "every `image` is i32[2, 3], not image: f32[N, C=6] (m.kiln:1:9)"
        );
        let crop = DataStep::Crop { size: Some([2, 2]), pad: 0, random: false };
        assert_eq!(
            error(&image(&[("H", 2), ("W", 3)]), &[crop]),
            "every `image` is i32[2, 2] when cropped, not image: f32[N, H=2, W=3] (m.kiln:1:9)"
        );
    }

    #[test]
    fn axes_of_size_1_may_be_missing() {
        let column = |sizes: &[(&str, usize)]| {
            Column::new(&data(), &want("image", DType::F32, sizes), &[]).unwrap().shape
        };
        assert_eq!(column(&[("C", 1), ("H", 2), ("W", 3)]), [1, 2, 3]);
        assert_eq!(column(&[("H", 2), ("W", 3)]), [2, 3]);
    }

    #[test]
    fn labels_are_compared_with_the_number_of_classes() {
        let label = |classes| FieldType { classes, ..want("label", DType::I32, &[]) };
        assert!(Column::new(&data(), &label(None), &[]).is_ok());
        assert_eq!(
            error(&label(Some(3)), &[]),
            "`label` of example 0 is 3, but the model knows 3 classes of `label`, 0..=2"
        );
        assert_eq!(
            error(&label(Some(4)), &[]),
            "`label` of example 1 is -1, but the model knows 4 classes of `label`, 0..=3"
        );
    }
}
