//! Schema and rules of fields that hold a number of bytes.
//!
//! They are numbers or texts (`x-kubernetes-int-or-string`), which CEL does not tell apart by a type: a rule has to ask.
//! It does so with `string(x) == x`, since the evaluator of `s3migrate` has no `type()`.

use kube_core::Rule;
use migration_core::size::ByteSize;
use schemars::{Schema, SchemaGenerator, json_schema};

/// The texts that [`ByteSize`] parses, up to a length that no size needs.
const FORM: &str = "^([0-9]{1,19}|[0-9]{1,13}([.][0-9]{1,3})?([KMGTPE]i|[kMGTPE]))$";

/// What a person writes instead of something that is no size.
const INSTEAD: &str = "a number of bytes, or a number with one of the suffixes k, M, G, T, P, E (powers of 1000) or Ki, \
     Mi, Gi, Ti, Pi, Ei (powers of 1024), such as 16Mi or 1.5Gi";

/// Returns the schema: a number or a text.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 24})
}

/// Returns the rule that a value is a size.
pub(crate) fn form() -> Rule {
    Rule::new(format!("{} ? self.matches('{FORM}') : self >= 0", is_text("self")))
        .message(&*format!("not a size: write {INSTEAD}"))
}

/// Returns the rule that a value is `Auto` or a size.
pub(crate) fn auto_or_form() -> Rule {
    Rule::new(format!("self == 'Auto' || ({} ? self.matches('{FORM}') : self >= 0)", is_text("self")))
        .message(&*format!("not a part size: write Auto, or {INSTEAD}"))
}

// Rules on values accept whatever fails the rule on the form, so that one mistake gives one message.

/// Returns the rule that a size is at most this.
pub(crate) fn at_most(most: ByteSize, message: &str) -> Rule {
    Rule::new(format!(
        "{} ? !isQuantity(self) || quantity(self).compareTo(quantity('{most}')) <= 0 : self <= {}",
        is_text("self"),
        most.bytes()
    ))
    .message(message)
}

/// Returns the rule that a size is within these bounds, or a text that is no size.
pub(crate) fn within(least: ByteSize, most: ByteSize, message: &str) -> Rule {
    Rule::new(format!(
        "{} ? !isQuantity(self) || (quantity(self).compareTo(quantity('{least}')) >= 0 && \
         quantity(self).compareTo(quantity('{most}')) <= 0) : self >= {} && self <= {}",
        is_text("self"),
        least.bytes(),
        most.bytes()
    ))
    .message(message)
}

/// Returns a CEL expression that is true if a field is a text.
fn is_text(field: &str) -> String {
    format!("string({field}) == {field}")
}

/// Returns a CEL expression that is true if the amount of a field can be computed.
pub(crate) fn is_known(field: &str) -> String {
    format!("(string({field}) != {field} || isQuantity({field}))")
}

/// Returns a CEL expression for the quantity of a field.
pub(crate) fn amount(field: &str) -> String {
    format!("({} ? quantity({field}) : quantity('0').add({field}))", is_text(field))
}
