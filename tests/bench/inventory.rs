fn main() {
    let host = agent::host::linux::Linux::new().unwrap();
    let only = std::env::args().nth(2);
    let t = std::time::Instant::now();
    let inventory = agent::inventory::take(&host, only.as_deref()).unwrap();
    let took = t.elapsed();
    if std::env::args().nth(1).as_deref() == Some("json") {
        println!("{}", serde_json::to_string_pretty(&inventory).unwrap());
    } else {
        use agent::cli::inventory::{View, render};
        print!("{}", render(&inventory, if only.is_some() { View::Details } else { View::List }));
    }
    eprintln!("{took:?}");
}
