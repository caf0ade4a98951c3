use futures::future::join_all;
use migration_core::error::ErrorClass;

use super::*;

/// A thread on a table of numbers with texts.
fn thread() -> DatabaseThread {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY, text TEXT)").unwrap();
    DatabaseThread::start(connection, PathBuf::from("/s/state.db")).unwrap()
}

/// Adds a number, and fails afterwards where this is asked for.
async fn add(database: &Database, number: i64, bytes: usize, then: Result<(), ErrorClass>) -> Result<(), ServiceError> {
    let work = move |connection: &Connection| {
        connection.execute("INSERT INTO numbers VALUES (?1, ?2)", (number, "x".repeat(bytes)))?;
        then.map_err(|class| WorkError::Answer(ServiceError::new(class, "add number", "Asked", "it was asked for")))
    };
    database.execute(Operation::WriteItems, work).await
}

async fn numbers(database: &Database) -> Vec<i64> {
    let work = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT number FROM numbers ORDER BY number")?;
        let numbers = statement.query_map([], |row| row.get(0))?;
        Ok::<_, WorkError<ServiceError>>(numbers.collect::<Result<_, _>>()?)
    };
    database.execute(Operation::QueryItems, work).await.unwrap()
}

async fn limit_pages(database: &Database, pages: i64) {
    let work = move |connection: &Connection| {
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        Ok::<_, WorkError<ServiceError>>(())
    };
    database.execute(Operation::QueryItems, work).await.unwrap();
}

#[tokio::test]
async fn a_request_that_fails_undoes_its_own_changes_only() {
    let thread = thread();
    let database = thread.database();
    let then = |number| if number % 3 == 0 { Err(ErrorClass::Refused) } else { Ok(()) };
    let results = join_all((0..100).map(|number| add(&database, number, 1, then(number)))).await;
    for (number, result) in (0_i64..).zip(results) {
        assert_eq!(result.map_err(|error| error.class), then(number), "{number}");
    }
    let expected: Vec<i64> = (0..100).filter(|number| number % 3 != 0).collect();
    assert_eq!(numbers(&database).await, expected);
    let twice = add(&database, 1, 1, Ok(())).await.unwrap_err();
    assert_eq!((twice.class, twice.code.as_str()), (ErrorClass::Refused, "StateFailed"));
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_passes() {
    let thread = thread();
    let database = thread.database();
    limit_pages(&database, 20).await;
    let size = |number| if number == 5 { 1 << 20 } else { 10 };
    let results = join_all((0..10).map(|number| add(&database, number, size(number), Ok(())))).await;
    let full = results[5].as_ref().unwrap_err();
    assert_eq!((full.class, full.code.as_str()), (ErrorClass::Transient, "DiskFull"));
    assert!(full.message.contains("no space is left for /s/state.db"), "{full}");
    let done: Vec<i64> = (0..).zip(&results).filter(|(_, result)| result.is_ok()).map(|(number, _)| number).collect();
    assert_eq!(numbers(&database).await, done);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
    }
    limit_pages(&database, 10_000).await;
    for number in (0..10).filter(|number| !done.contains(number)) {
        add(&database, number, size(number), Ok(())).await.unwrap();
    }
    assert_eq!(numbers(&database).await.len(), 10);
}

/// What a request of a transaction that was rolled back found, it may have found in another request's writes.
#[test]
fn nothing_is_true_that_was_found_in_a_transaction_that_was_rolled_back() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
    let path: Arc<Path> = Path::new("/s/state.db").into();
    let mut group: Vec<Box<dyn Execute>> = Vec::new();
    let mut answers = Vec::new();
    for sql in ["INSERT INTO numbers VALUES (1)", "SELECT 1", "ROLLBACK", "INSERT INTO numbers VALUES (2)"] {
        let (answer, answered) = oneshot::channel::<Result<(), ServiceError>>();
        let work = move |connection: &Connection| Ok(connection.execute_batch(sql)?);
        let path = Arc::clone(&path);
        let operation = Operation::WriteItems;
        group.push(Box::new(Request { operation, path, work: Some(work), outcome: None, answer }));
        answers.push(answered);
    }
    commit(&mut connection, group);
    for mut answered in answers {
        let error = answered.try_recv().unwrap().unwrap_err();
        assert_eq!(error.class, if error.code == "StateFailed" { ErrorClass::Refused } else { ErrorClass::Transient });
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 0);
}
