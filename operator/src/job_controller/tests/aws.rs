//! SQS and DynamoDB as an HTTP server in memory, which counts requests. It answers as far as the operator asks.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use migration_core::ports::{Clock, Item, Ledger};
use migration_testkit::MemoryLedger;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::api_server::TestClock;

/// A request: its operation, the table or queue, and when it came, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub operation: String,
    pub about: String,
    pub at: i64,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Value>,
    tables: BTreeMap<String, (Value, MemoryLedger)>,
    /// The tables whose records expire.
    expiring: BTreeSet<String>,
    depths: BTreeMap<String, u64>,
    calls: Vec<Call>,
    armed: Vec<Armed>,
}

/// What somebody else does right after a request was answered.
struct Armed {
    operation: &'static str,
    about_end: &'static str,
    act: Box<dyn FnOnce() + Send>,
}

/// The server. Clones are the same server.
#[derive(Clone)]
pub struct Aws {
    /// URL of both services.
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    clock: TestClock,
}

impl Aws {
    /// Starts a server without queues and tables.
    pub async fn start(clock: TestClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { endpoint, state: Arc::default(), clock };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                let answer = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        server
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets the calls that were recorded, and returns them.
    pub fn take_calls(&self) -> Vec<Call> {
        self.with(|state| std::mem::take(&mut state.calls))
    }

    /// Sets the number of messages that wait in a queue.
    pub fn set_depth(&self, queue: &str, messages: u64) {
        self.with(|state| state.depths.insert(queue.to_owned(), messages));
    }

    /// Does something once, after the first request of an operation, about what has a name that ends so, was carried
    /// out and before it is answered.
    pub fn after(&self, operation: &'static str, about_end: &'static str, act: impl FnOnce() + Send + 'static) {
        self.with(|state| state.armed.push(Armed { operation, about_end, act: Box::new(act) }));
    }

    /// The records of a table, made now if there is none.
    pub fn table(&self, name: &str) -> MemoryLedger {
        self.with(|state| state.tables.entry(name.to_owned()).or_default().1.clone())
    }

    /// The names of queues and tables.
    pub fn names(&self) -> Vec<String> {
        self.with(|state| state.queues.keys().chain(state.tables.keys()).cloned().collect())
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.headers()["x-amz-target"].to_str().unwrap().to_owned();
        let (service, operation) = target.split_once('.').unwrap();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let about = ["QueueName", "TableName"].iter().find_map(|name| body[name].as_str());
        let about = about.or_else(|| body["QueueUrl"].as_str()?.rsplit('/').next()).unwrap_or_default().to_owned();
        let call = Call { operation: operation.to_owned(), about: about.clone(), at: self.clock.now() };
        self.with(|state| state.calls.push(call));
        let answer = match service {
            "AmazonSQS" => self.with(|state| queues(state, operation, &about, &body, &self.endpoint)),
            _ => self.tables(operation, &about, &body).await,
        };
        let fits = |one: &Armed| one.operation == operation && about.ends_with(one.about_end);
        let armed = self.with(|state| Some(state.armed.remove(state.armed.iter().position(fits)?)));
        if let Some(armed) = armed {
            (armed.act)();
        }
        let (status, answer) = answer.map_or_else(|code| (400, json!({"__type": code, "message": code})), |a| (200, a));
        let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
        response.body(Full::new(Bytes::from(answer.to_string()))).unwrap()
    }

    async fn tables(&self, operation: &str, name: &str, body: &Value) -> Result<Value, &'static str> {
        const NOT_FOUND: &str = "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException";
        if operation == "CreateTable" {
            self.with(|state| state.tables.entry(name.to_owned()).or_default().0 = body["Tags"].clone());
        }
        if let Some(arn) = body["ResourceArn"].as_str() {
            let name = arn.rsplit('/').next().unwrap_or_default();
            return Ok(self.with(|state| {
                let tags = &mut state.tables.entry(name.to_owned()).or_default().0;
                if operation == "TagResource" {
                    *tags = body["Tags"].clone();
                }
                json!({"Tags": if tags.is_null() { json!([]) } else { tags.clone() }})
            }));
        }
        let table = self.with(|state| state.tables.get(name).map(|(_, items)| items.clone()));
        let Some(table) = table else { return Err(NOT_FOUND) };
        Ok(match operation {
            "CreateTable" | "DescribeTable" => {
                let key = |name, kind| json!({"AttributeName": name, "KeyType": kind});
                let attribute = |name| json!({"AttributeName": name, "AttributeType": "S"});
                let arn = format!("arn:aws:dynamodb:us-east-1:1:table/{name}");
                let table = json!({
                    "TableName": name, "TableStatus": "ACTIVE", "TableArn": arn,
                    "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
                    "AttributeDefinitions": [attribute("pk"), attribute("sk")],
                });
                json!({"Table": table, "TableDescription": table})
            }
            "DescribeTimeToLive" => {
                let is_on = self.with(|state| state.expiring.contains(name));
                let on = json!({"AttributeName": "ttl", "TimeToLiveStatus": "ENABLED"});
                json!({"TimeToLiveDescription": if is_on { on } else { json!({"TimeToLiveStatus": "DISABLED"}) }})
            }
            "UpdateTimeToLive" => {
                self.with(|state| state.expiring.insert(name.to_owned()));
                json!({"TimeToLiveSpecification": body["TimeToLiveSpecification"]})
            }
            "DeleteTable" => {
                self.with(|state| (state.tables.remove(name), state.expiring.remove(name)));
                json!({})
            }
            "GetItem" => {
                let text = |name: &str| body["Key"][name]["S"].as_str().unwrap();
                let key = migration_core::ports::LedgerKey::new(text("pk"), text("sk"));
                table.get(&key).await.unwrap().map_or_else(|| json!({}), |item| json!({"Item": attributes(item)}))
            }
            "Query" => {
                let value = |name: &str| body["ExpressionAttributeValues"][name]["S"].as_str();
                let after = body["ExclusiveStartKey"]["sk"]["S"].as_str();
                let (partition, prefix) = (value(":0").unwrap(), value(":1").unwrap_or_default());
                let page = table.query(partition, prefix, after, 1_000).await.unwrap();
                json!({"Items": page.items.into_iter().map(attributes).collect::<Vec<_>>()})
            }
            other => panic!("the operator sent {other}"),
        })
    }
}

fn queues(state: &mut State, operation: &str, name: &str, body: &Value, endpoint: &str) -> Result<Value, &'static str> {
    let url = json!({"QueueUrl": format!("{endpoint}/1/{name}")});
    if operation == "CreateQueue" {
        let queue = json!({"Attributes": body["Attributes"], "Tags": body["tags"]});
        state.queues.insert(name.to_owned(), queue);
        return Ok(url);
    }
    let Some(queue) = state.queues.get(name) else { return Err("com.amazonaws.sqs#QueueDoesNotExist") };
    Ok(match operation {
        "GetQueueUrl" => url,
        "GetQueueAttributes" => {
            let mut all = queue["Attributes"].clone();
            all["QueueArn"] = json!(format!("arn:aws:sqs:us-east-1:1:{name}"));
            all["ApproximateNumberOfMessages"] = json!(state.depths.get(name).unwrap_or(&0).to_string());
            all["ApproximateNumberOfMessagesNotVisible"] = json!("0");
            all["ApproximateNumberOfMessagesDelayed"] = json!("0");
            json!({"Attributes": all})
        }
        "ListQueueTags" => json!({"Tags": queue["Tags"]}),
        "SetQueueAttributes" | "TagQueue" => json!({}),
        "DeleteQueue" => {
            state.queues.remove(name);
            json!({})
        }
        other => panic!("the operator sent {other}"),
    })
}

/// An item as DynamoDB writes it.
fn attributes(item: Item) -> Value {
    let mut all: Map<String, Value> =
        item.attributes.into_iter().map(|(name, value)| (name, attribute(value))).collect();
    all.insert("pk".to_owned(), json!({"S": item.key.partition}));
    all.insert("sk".to_owned(), json!({"S": item.key.sort}));
    if let Some(ttl) = item.expires_at {
        all.insert("ttl".to_owned(), json!({"N": ttl.to_string()}));
    }
    Value::Object(all)
}

fn attribute(value: Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(value) => json!({"BOOL": value}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(list) => json!({"L": list.into_iter().map(attribute).collect::<Vec<_>>()}),
        Value::Object(map) => {
            let map: Map<String, Value> = map.into_iter().map(|(name, value)| (name, attribute(value))).collect();
            json!({"M": map})
        }
    }
}
