//! The OpenAPI document: every operation, with every status that it can answer with.

use serde_json::Value;

fn document() -> Value {
    serde_json::to_value(attune_api::openapi()).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    })
}

#[test]
fn operations_are_described() {
    let document = document();
    let mut told = Vec::new();
    for (path, method, operation) in operations(&document) {
        let statuses: Vec<&str> =
            operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
        let id = operation["operationId"].as_str().unwrap();
        told.push(format!("{:4} {path} {id} {}", method.to_uppercase(), statuses.join(" ")));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn errors_are_problem_documents_and_only_health_is_open() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let secured = operation["security"][0]["bearer"].is_array();
        assert_eq!(secured, path != "/healthz", "{method} {path}");
        assert!(operation["summary"].is_string(), "{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let problem = &response["content"]["application/problem+json"]["schema"]["$ref"]
                == "#/components/schemas/ProblemDocument";
            assert_eq!(problem, status.as_str() >= "400", "{method} {path} {status}");
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}

#[test]
fn every_schema_that_is_referred_to_exists() {
    let document = document();
    let text = document.to_string();
    let names: Vec<&str> =
        text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(!names.is_empty());
    // events are no answer of an operation, and are described all the same
    for name in ["AttemptEvent", "StatusEvent"] {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    for name in names {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
