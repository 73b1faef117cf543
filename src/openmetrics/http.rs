// SPDX-License-Identifier: GPL-2.0-only
//! As much of HTTP as a scrape needs: one request for each connection, and no body in it.

use httparse::{Error, Request, Status, EMPTY_HEADER};

use super::CONTENT_TYPE;

/// The only path that there is.
const PATH: &str = "/metrics";
/// Longest head of a request, in bytes, and most headers in it; Prometheus sends 300 and six.
const HEAD_MAX_BYTES: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It asks for the metrics.
    Metrics,
    /// It is no HTTP.
    BadRequest,
    /// It asks for something else.
    NotFound,
    /// It wants something else done.
    NotAllowed,
    /// It is too long.
    TooLong,
}

/// Judges what has come of a request; none if there is more to come.
pub fn judge(bytes: &[u8]) -> Option<Answer> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Partial) if bytes.len() < HEAD_MAX_BYTES => None,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => Some(Answer::TooLong),
        Ok(Status::Complete(_)) => Some(match (request.method, request.path) {
            (method, Some(target)) if target.split('?').next() == Some(PATH) => match method {
                Some("GET") => Answer::Metrics,
                _ => Answer::NotAllowed,
            },
            _ => Answer::NotFound,
        }),
        Err(_) => Some(Answer::BadRequest),
    }
}

/// The whole response, with `metrics` where it has them.
pub fn response(answer: Answer, metrics: impl FnOnce() -> String) -> Vec<u8> {
    let plain = "text/plain; charset=utf-8";
    let says = |what: &str| (plain, format!("{what}\n"));
    let (status, (content_type, body)) = match answer {
        Answer::Metrics => ("200 OK\r\n", (CONTENT_TYPE, metrics())),
        Answer::BadRequest => ("400 Bad Request\r\n", says("this is not HTTP/1.1")),
        Answer::NotFound => ("404 Not Found\r\n", says("metrics are at /metrics")),
        Answer::NotAllowed => (
            "405 Method Not Allowed\r\nAllow: GET\r\n",
            says("metrics can be read by GET, and nothing else done with them"),
        ),
        Answer::TooLong => (
            "431 Request Header Fields Too Large\r\n",
            says("the head of the request is too long"),
        ),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::fuzz;
    use proptest::prelude::*;

    const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost:9190\r\nUser-Agent: \
                          Prometheus/2.42.0\r\nAccept: application/openmetrics-text\r\n\r\n";

    proptest! {
        #[test]
        fn a_request_is_judged_once_it_is_whole(cut in 0..SCRAPE.len()) {
            prop_assert_eq!(judge(&SCRAPE.as_bytes()[..cut]), None);
            prop_assert_eq!(judge(SCRAPE.as_bytes()), Some(Answer::Metrics));
        }

        #[test]
        fn a_response_is_as_long_as_it_says(body in ".{0,200}") {
            for answer in [Answer::Metrics, Answer::NotAllowed, Answer::BadRequest] {
                let bytes = response(answer, || body.clone());
                let text = String::from_utf8(bytes).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let length = format!("Content-Length: {}", body.len());
                prop_assert!(head.lines().any(|line| line == length), "{}", head);
            }
        }
    }

    #[test]
    fn what_is_no_scrape_is_refused() {
        for (head, answer) in [
            ("GET /metrics?name=x HTTP/1.0\r\n\r\n", Answer::Metrics),
            ("GET / HTTP/1.1\r\n\r\n", Answer::NotFound),
            ("GET /metricsx HTTP/1.1\r\n\r\n", Answer::NotFound),
            ("POST /x HTTP/1.1\r\n\r\n", Answer::NotFound),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Answer::NotAllowed),
            (
                "POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
                Answer::NotAllowed,
            ),
            ("get\r\n\r\n", Answer::BadRequest),
            ("{\"req\":\"stats\"}\n", Answer::BadRequest),
        ] {
            assert_eq!(judge(head.as_bytes()), Some(answer), "{head}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(HEAD_MAX_BYTES));
        assert_eq!(judge(long.as_bytes()), Some(Answer::TooLong));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
        assert_eq!(judge(many.as_bytes()), Some(Answer::TooLong));
    }

    #[test]
    fn fuzz_requests() {
        const WORDS: [&str; 7] = ["GET", "/metrics", "?", "HTTP/1.1", "\r\n", ":", "\0"];
        fuzz(&[SCRAPE], &WORDS, |bytes| {
            assert!(judge(bytes).is_some() || bytes.len() < HEAD_MAX_BYTES);
        });
    }
}
