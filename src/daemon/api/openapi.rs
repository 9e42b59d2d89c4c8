//! What the API looks like, for machines: OpenAPI 3.1, whose schemas are made from the very types that are sent.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::daemon::control::Command;
use crate::daemon::status::{JobStatus, Snapshot};
use crate::daemon::usage::MonthlyUsage;

/// The document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let (snapshot, job, command) = (generator.subschema_for::<Snapshot>(), generator.subschema_for::<JobStatus>(), generator.subschema_for::<Command>());
    let usage = generator.subschema_for::<MonthlyUsage>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert(
        "Problem".into(),
        json!({
            "type": "object", "required": ["error"],
            "properties": { "error": { "type": "object", "required": ["message", "advice"], "properties": {
                "message": { "type": "string", "description": "What is wrong." }, "advice": { "type": "string", "description": "What to do." } } } }
        }),
    );
    let answer = |what: &str, schema: &Value| json!({ "description": what, "content": { "application/json": { "schema": schema } } });
    let text = |what: &str| json!({ "description": what, "content": { "text/plain": { "schema": { "type": "string" } } } });
    let problem = |what: &str| json!({ "description": what, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Problem" } } } });
    let job_name = json!([{ "name": "job", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 }, "description": "The job's name." }]);
    let month = json!([{ "name": "month", "in": "query", "required": false, "schema": { "type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$" },
        "description": "The month in UTC; else the present one." }]);
    let csv = json!({ "schema": { "type": "string", "description": "RFC 4180, with a line of names." } });
    let (guarded, foreign) = (problem("The token is missing or wrong."), problem("The Host header names somebody else."));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Dragon", "version": env!("CARGO_PKG_VERSION"), "description": "The daemon that mirrors buckets between Amazon S3 and Alibaba Cloud OSS." },
        "security": [{}, { "token": [] }],
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "What the file `token` in the state directory holds." } }
        },
        "paths": {
            "/api/v1/status": { "get": { "operationId": "status", "summary": "How everything stands.",
                "responses": { "200": answer("All of it.", snapshot.as_value()), "401": guarded, "421": foreign } } },
            "/api/v1/jobs": { "get": { "operationId": "jobs", "summary": "The jobs.",
                "responses": { "200": answer("All of them, in the configuration's order.", &json!({ "type": "array", "items": job })), "401": guarded, "421": foreign } } },
            "/api/v1/jobs/{job}": { "parameters": job_name, "get": { "operationId": "job", "summary": "One job.",
                "responses": { "200": answer("The job.", job.as_value()), "401": guarded, "404": problem("There is no such job."), "421": foreign } } },
            "/api/v1/usage": { "get": { "operationId": "usage", "summary": "What each job used in a month.", "parameters": month,
                "responses": {
                    "200": { "description": "Of each job, and of each prefix of it.", "content": { "application/json": { "schema": usage }, "text/csv": csv } },
                    "400": problem("That is no month, or something else is asked."), "401": guarded, "404": problem("Nothing is known of that month."),
                    "421": foreign, "503": problem("What stands on disk cannot be read.") } } },
            "/api/v1/usage.csv": { "get": { "operationId": "usageCsv", "summary": "What each job used in a month, for a spreadsheet.", "parameters": month,
                "responses": {
                    "200": { "description": "Of each job, and of each prefix of it.", "content": { "text/csv": csv } },
                    "400": problem("That is no month, or something else is asked."), "401": guarded, "404": problem("Nothing is known of that month."),
                    "421": foreign, "503": problem("What stands on disk cannot be read.") } } },
            "/api/v1/commands": { "post": { "operationId": "command", "summary": "Have something done.", "security": [{ "token": [] }],
                "requestBody": { "required": true, "content": { "application/json": { "schema": command } } },
                "responses": {
                    "200": answer("It is done, or has begun.", &json!({ "type": "object", "required": ["message"], "properties": { "message": { "type": "string" } } })),
                    "400": problem("The body is no JSON."), "401": guarded, "403": problem("A browser sends it from a foreign page."),
                    "404": problem("There is no such job."), "413": problem("The body is larger than 64 KiB."), "415": problem("The body is not declared as JSON."),
                    "421": foreign, "422": problem("The command makes no sense."), "503": problem("The daemon is ending.")
                } } },
            "/api/v1/hints/{job}": { "parameters": job_name, "post": { "operationId": "hints", "summary": "Tell of changes: event messages of S3 or OSS, CloudEvents.",
                "description": "The Authorization header carries the job's own token.", "security": [{ "token": [] }],
                "requestBody": { "required": false, "content": { "application/json": { "schema": {} } } },
                "responses": {
                    "200": answer("They wait for their compare.", &json!({ "type": "object", "required": ["taken"], "properties": { "taken": { "type": "integer" } } })),
                    "400": problem("It is no event message."), "401": problem("The job's token is missing or wrong."), "413": problem("The body is larger than 1 MiB."),
                    "503": problem("Too many wait: send it again.")
                } } },
            "/metrics": { "get": { "operationId": "metrics", "summary": "Prometheus.", "responses": { "200": text("The text format, version 0.0.4."), "401": guarded, "421": foreign } } },
            "/healthz": { "get": { "operationId": "healthz", "summary": "Whether the daemon lives.", "security": [], "responses": { "200": text("It does.") } } },
            "/readyz": { "get": { "operationId": "readyz", "summary": "Whether it works.",
                "responses": { "200": text("It does."), "401": guarded, "421": foreign, "503": problem("It drains.") } } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::sample;

    /// Holds a value against a schema: every field is described, and every required one is there.
    fn fits(value: &Value, schema: &Value, root: &Value, path: &str) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = root.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}: {reference} leads nowhere"));
            return fits(value, target, root, path);
        }
        if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
            let wanted = any.iter().find(|one| value.is_null() == (one.get("type").and_then(Value::as_str) == Some("null")));
            return fits(value, wanted.unwrap_or_else(|| panic!("{path}: none fits")), root, path);
        }
        match value {
            Value::Object(fields) => {
                let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                    assert!(schema.get("additionalProperties").is_some(), "{path}: nothing is known of its fields");
                    return;
                };
                fields.iter().for_each(|(name, value)| {
                    fits(value, properties.get(name).unwrap_or_else(|| panic!("{path}.{name} is not described")), root, &format!("{path}.{name}"))
                });
                let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                required.for_each(|name| assert!(fields.contains_key(name), "{path}.{name} is missing"));
            }
            Value::Array(items) => items.iter().for_each(|item| fits(item, &schema["items"], root, &format!("{path}[]"))),
            _ => {
                let kinds = schema.get("type").map(|kind| kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()])).unwrap_or_default();
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(_) => "integer",
                    _ => "string",
                };
                assert!(kinds.is_empty() || kinds.iter().any(|known| known == kind), "{path} is {kind}, not {kinds:?}");
            }
        }
    }

    #[test]
    fn the_description_is_of_what_is_sent() {
        let document = document();
        let schema = document.pointer("/paths/~1api~1v1~1status/get/responses/200/content/application~1json/schema").expect("there");
        fits(&serde_json::to_value(sample()).expect("a value"), schema, &document, "status");
        let schema = document.pointer("/paths/~1api~1v1~1usage/get/responses/200/content/application~1json/schema").expect("there");
        let row = crate::daemon::usage::UsageRow { job: "photos".into(), prefix: "a/".into(), sums: Default::default() };
        let usage = MonthlyUsage { month: "2026-11".into(), rows: vec![row] };
        fits(&serde_json::to_value(usage).expect("a value"), schema, &document, "usage");
    }
}
