//! What an action wrote.

use attune_common::model::{ExecutionStatus, LogStream, Outcome};

use super::{LONG, Suite, fence, piece};

impl Suite {
    pub(super) async fn log_pieces_come_back_in_order_and_by_offset(&self) {
        let execution = self.started("suite.once-shell", LONG).await;
        let (id, fence) = (execution.id, fence(&execution));
        let bytes: Vec<u8> = (0..=255).collect();
        self.agent
            .append_log(
                fence,
                vec![piece(0, LogStream::Stdout, b"one "), piece(4, LogStream::Stderr, b"two ")],
            )
            .await
            .unwrap();
        self.agent.append_log(fence, vec![piece(8, LogStream::Stdout, &bytes)]).await.unwrap();
        self.agent
            .finish(
                fence,
                ExecutionStatus::Succeeded,
                Outcome::default(),
                vec![piece(264, LogStream::System, b"end")],
            )
            .await
            .unwrap();
        let read = |from, most| self.store.read_log(id, 1, from, most);
        let all = read(0, 10_000).await.unwrap();
        let whole: Vec<u8> = all.iter().flat_map(|chunk| chunk.data.clone()).collect();
        assert_eq!(whole, [b"one two ".as_slice(), &bytes, b"end"].concat());
        assert_eq!(
            all.iter().map(|chunk| chunk.stream).collect::<Vec<_>>(),
            [LogStream::Stdout, LogStream::Stderr, LogStream::Stdout, LogStream::System]
        );
        for from in [1, 4, 6, 8, 100, 263, 264, 266] {
            let part = read(from, 10_000).await.unwrap();
            assert_eq!(part[0].offset, from);
            let rest: Vec<u8> = part.iter().flat_map(|chunk| chunk.data.clone()).collect();
            assert_eq!(rest, whole[from as usize..], "from {from}");
        }
        assert_eq!(read(0, 1).await.unwrap().len(), 1, "there is always progress");
        assert!(read(267, 10_000).await.unwrap().is_empty());
        assert!(self.store.read_log(id, 2, 0, 10_000).await.unwrap().is_empty());
    }
}
