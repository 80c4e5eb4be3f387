//! Programs that nobody here wrote join by prefixing their command.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::mesh::{Mesh, repository, until};
use crate::ports;

/// A `weft run` that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn run(mesh: &Mesh, service: &str, arguments: &[&str], command: &[&str]) -> Running {
    let log = std::fs::File::create(mesh.path().join("log").join(format!("test-{service}.log"))).unwrap();
    let child = mesh
        .command(&[&["run", "--service", service], arguments, &["--"], command].concat())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

/// Calls a service out of the sample's mesh until it answers.
fn answers(mesh: &Mesh, url: &str, expected: &str) {
    until(&format!("{url} with {expected:?}"), Duration::from_secs(60), || {
        let answer = mesh.call_from("productpage-v1", url, &[]);
        answer.status == 200 && answer.body.contains(expected)
    });
}

#[test]
fn python_nginx_and_flask_join_unchanged() {
    let mesh = Mesh::start(&[]);
    let files = tempfile::TempDir::new().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let [files_at, web_at, author_at] = [(); 3].map(|()| ports::free([127, 0, 0, 1]));

    // Python's own server of files.
    std::fs::write(path("hello.txt"), "hello from python").unwrap();
    let directory = files.path().to_str().unwrap();
    let port = files_at.port().to_string();
    let server = ["python3", "-m", "http.server", &port, "--bind", "127.0.0.1", "--directory", directory];
    let _python = run(&mesh, "files", &["--port", "8000", "--forward-to", &files_at.to_string()], &server);
    answers(&mesh, "http://files:8000/hello.txt", "hello from python");

    // nginx, in the foreground, without root.
    let mut conf = std::fs::File::create(path("nginx.conf")).unwrap();
    write!(
        conf,
        "daemon off; pid {0}/nginx.pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         server {{ listen {1}; location / {{ return 200 \"hello from nginx\"; }} }} }}\n",
        directory, web_at
    )
    .unwrap();
    let nginx = if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let command = [nginx, "-p", directory, "-c", &path("nginx.conf")];
    let _nginx = run(&mesh, "web", &["--port", "8080", "--forward-to", &web_at.to_string()], &command);
    answers(&mesh, "http://web:8080/", "hello from nginx");

    // Flask, which calls details with its ordinary client.
    std::fs::write(
        path("app.py"),
        "import flask, requests\napp = flask.Flask(__name__)\n\
         @app.get('/author')\ndef author():\n    return requests.get('http://details:9080/details/0', timeout=10).json()['author']\n",
    )
    .unwrap();
    let python = repository("target/test-venv/bin/python");
    let python = if python.exists() { python.to_str().unwrap().to_owned() } else { "python3".to_owned() };
    let app = path("app.py");
    let port = author_at.port().to_string();
    let command = [&python, "-m", "flask", "--app", &app, "run", "--host", "127.0.0.1", "--port", &port];
    let _flask = run(&mesh, "author", &["--port", "5000", "--forward-to", &author_at.to_string()], &command);
    answers(&mesh, "http://author:5000/author", "William Shakespeare");
}
