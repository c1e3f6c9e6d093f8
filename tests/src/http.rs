//! The smallest HTTP client: one request a connection, thousands of times, or many on one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Error, Result, ensure};
use socket2::{Domain, Socket, Type};

/// What a laboratory server says about a request: who answered, and whom it saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// The server's name.
    pub server: String,
    /// The address and port the server saw.
    pub client: SocketAddr,
}

impl FromStr for Answer {
    type Err = Error;

    fn from_str(body: &str) -> Result<Self> {
        let mut words = body.split_whitespace();
        let mut word = || words.next().with_context(|| format!("not an answer: {body:?}"));
        let server = word()?.to_owned();
        let address: IpAddr = word()?.parse()?;
        let port = word()?.parse()?;
        Ok(Self { server, client: SocketAddr::new(address, port) })
    }
}

/// Opens a connection from the calling thread's namespace, from `source` if given (port 0: any).
/// Every step on the stream is bounded by `timeout`.
///
/// # Errors
/// When it is refused, times out, or `source` is not ours.
pub fn connect(source: Option<SocketAddr>, to: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.set_reuse_address(true)?;
        socket.bind(&source.into()).with_context(|| format!("cannot bind to {source}"))?;
    }
    socket
        .connect_timeout(&to.into(), timeout)
        .with_context(|| format!("cannot connect to {to}"))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for `path` on a connection of its own and returns the body.
///
/// # Errors
/// When the connection fails, stalls or breaks, or the status is not 200.
pub fn get(
    source: Option<SocketAddr>,
    to: SocketAddr,
    path: &str,
    timeout: Duration,
) -> Result<Vec<u8>> {
    let mut stream = connect(source, to, timeout)?;
    let asked = format!("from {} to {to}", stream.local_addr()?);
    write!(stream, "GET {path} HTTP/1.0\r\nHost: lab.test\r\n\r\n").context(asked.clone())?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).with_context(|| format!("no full answer {asked}"))?;
    let end = response
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .with_context(|| format!("no whole header {asked}: {} bytes", response.len()))?;
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    ensure!(head.split(' ').nth(1) == Some("200"), "{asked}: {head}");
    let body = response.split_off(end + 4);
    if let Some(length) = content_length(&head) {
        ensure!(body.len() == length, "{asked}: {} of {length} bytes", body.len());
    }
    Ok(body)
}

/// A connection that stays open from request to request.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Opens it from the calling thread's namespace.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn open(source: Option<SocketAddr>, to: SocketAddr, timeout: Duration) -> Result<Self> {
        Ok(Self { stream: BufReader::new(connect(source, to, timeout)?) })
    }

    /// Its own address and port.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Asks who answers on this connection.
    ///
    /// # Errors
    /// When the connection is broken or stalls.
    pub fn ask(&mut self) -> Result<Answer> {
        self.stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: lab.test\r\n\r\n")?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(self.stream.read_line(&mut head)? > 0, "the server closed the connection");
        }
        ensure!(head.split(' ').nth(1) == Some("200"), "{head}");
        let length = content_length(&head).context("an answer without length")?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        String::from_utf8(body)?.parse()
    }
}

fn content_length(head: &str) -> Option<usize> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_server_and_the_client_it_saw() {
        let answer: Answer = "server-1 fd00:1::10 4711\n".parse().unwrap();
        assert_eq!(answer.server, "server-1");
        assert_eq!(answer.client, "[fd00:1::10]:4711".parse().unwrap());
        assert!("server-1 10.1.0.10".parse::<Answer>().is_err());
    }
}
