//! The answer of an API server to a resource, without one.

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use kube_cel::{CompiledSchema, ErrorKind, Validator, apply_defaults, compile_schema};
use migration_api::MigrationJob;
use serde_json::Value;

use super::error::ManifestError;
use super::schema;
use super::structure::collect;
use super::violation::{Violation, ViolationKind};

/// Identifies the schema among those of the compiler; nothing is loaded from there.
const SCHEMA_URL: &str = "https://s3migration.dev/v1alpha1/migrationjob.json";

/// The schema of the resource and its CEL rules, compiled.
pub struct Admission {
    openapi: Value,
    structure: Schemas,
    root: SchemaIndex,
    rules: CompiledSchema,
    validator: Validator,
}

impl Admission {
    /// Compiles the schema.
    pub fn new() -> Result<Self, ManifestError> {
        let openapi = schema::openapi()?;
        let mut compiler = Compiler::new();
        // The newest draft with the formats asserted, and one that OpenAPI 3.0 agrees with in all keywords used.
        compiler.set_default_draft(Draft::V7);
        let mut structure = Schemas::new();
        let unusable = |error: boon::CompileError| ManifestError::Schema(error.to_string());
        compiler.add_resource(SCHEMA_URL, schema::json_schema(&openapi)).map_err(unusable)?;
        let root = compiler.compile(SCHEMA_URL, &mut structure).map_err(unusable)?;
        let rules = compile_schema(&openapi);
        Ok(Self { openapi, structure, root, rules, validator: Validator::new() })
    }

    /// Returns the resource with its defaults, or all that is wrong with it. `old` is the resource that it replaces.
    ///
    /// The order is that of an API server: defaults, the schema, and the CEL rules if the shape is right. The status is
    /// dropped, as nobody but the operator writes it.
    pub fn admit(&self, object: &Value, old: Option<&MigrationJob>) -> Result<MigrationJob, Vec<Violation>> {
        let mut object = schema::without_nulls(object.clone());
        if let Value::Object(fields) = &mut object {
            fields.remove("status");
        }
        let object = apply_defaults(&self.openapi, &object);
        let mut violations = self.check_structure(&object);
        if !violations.iter().any(|violation| violation.kind.hides_rules()) {
            let old = old.map(serde_json::to_value).transpose();
            let old = old.map_err(|error| vec![unreadable(&error)])?;
            violations.extend(self.check_rules(&object, old.as_ref()));
        }
        if violations.is_empty() {
            return serde_json::from_value(object).map_err(|error| vec![unreadable(&error)]);
        }
        Err(violations)
    }

    fn check_structure(&self, object: &Value) -> Vec<Violation> {
        let mut violations = Vec::new();
        if let Err(error) = self.structure.validate(object, self.root) {
            collect(&error, object, &mut violations);
        }
        violations
    }

    fn check_rules(&self, object: &Value, old: Option<&Value>) -> Vec<Violation> {
        let Err(errors) = self.validator.validate_compiled(&self.rules, object, old) else { return Vec::new() };
        let violation = |error: kube_cel::ValidationError| {
            let message = match error.kind {
                ErrorKind::ValidationFailure => error.message,
                // Never for the rules of our own resource, as a test proves; refused rather than skipped.
                _ => format!("failed to evaluate rule {:?}: {}", error.rule, error.message),
            };
            Violation { path: error.field_path, kind: ViolationKind::Invalid, message }
        };
        errors.into_iter().map(violation).collect()
    }
}

/// Makes a violation of what passed the schema and still is no resource, such as a number out of the range of its type.
fn unreadable(error: &serde_json::Error) -> Violation {
    Violation { path: String::new(), kind: ViolationKind::Type, message: error.to_string() }
}
