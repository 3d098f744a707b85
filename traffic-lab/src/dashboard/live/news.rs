//! The balancer's stream of server-sent events, taken apart as far as passing on needs: kind and data, unread.
//!
//! How it fails: an end, or an event that never ends, is told; the stream is over then.

use reqwest::Response;

/// Longest event: a record of the largest pool is below a mebibyte.
const LONGEST: usize = 8 << 20;

/// One event.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    /// `fact`, `request` or `lost`.
    pub(super) kind: String,
    /// JSON, in one line.
    pub(super) data: String,
}

/// The stream.
pub(super) struct News {
    response: Response,
    buffer: Buffer,
}

impl News {
    pub(super) fn new(response: Response) -> Self {
        Self { response, buffer: Buffer::default() }
    }

    /// The next event. May be dropped while it waits, without losing anything.
    pub(super) async fn next(&mut self) -> Result<Item, String> {
        loop {
            if let Some(item) = self.buffer.take() {
                return Ok(item);
            }
            if self.buffer.0.len() > LONGEST {
                return Err("an event of its stream has no end".to_owned());
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.0.extend_from_slice(&bytes),
                Ok(None) => return Err("it ended its stream: it is stopping".to_owned()),
                Err(_) => return Err("the connection to it broke".to_owned()),
            }
        }
    }
}

/// Bytes that came and are no whole event yet.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    /// The first whole event with data, taken out; comments, which only keep the connection alive, are dropped.
    fn take(&mut self) -> Option<Item> {
        loop {
            let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.0.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(kind), Some(data)) = (field("event: "), field("data: ")) {
                return Some(Item { kind: kind.to_owned(), data: data.to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_in_whatever_pieces_they_arrive() {
        let text = ":\n\nevent: fact\nid: 7\ndata: {\"kind\":\"joined\"}\n\nevent: request\ndata: {\"ü\":1}\n\nevent: lo";
        for piece in [1, 3, 1_000] {
            let (mut buffer, mut items) = (Buffer::default(), Vec::new());
            for bytes in text.as_bytes().chunks(piece) {
                buffer.0.extend_from_slice(bytes);
                items.extend(std::iter::from_fn(|| buffer.take()));
            }
            let told: Vec<(&str, &str)> = items.iter().map(|i| (i.kind.as_str(), i.data.as_str())).collect();
            assert_eq!(told, [("fact", "{\"kind\":\"joined\"}"), ("request", "{\"ü\":1}")]);
            assert_eq!(buffer.0, b"event: lo");
        }
    }
}
