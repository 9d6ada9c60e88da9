package main

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goairlock/airlock/core"
	natsexec "github.com/goairlock/airlock/executors/nats"
)

// natsGroup measures JetStream: a loop over the client's Publish, its
// asynchronous publishing, ours, and the limit, the same messages without
// asking for any acknowledgement but the last one's.
func natsGroup() Group {
	return Group{
		Name: "nats", Queue: "nats", Title: "NATS JetStream, one replica in a file", Libraries: natsLibraries,
		Sizes: []int{1, 100, 1000, 10000}, Setup: setupNATS,
	}
}

var natsLibraries = []string{"github.com/nats-io/nats.go"}

const benchStream = "AIRLOCKBENCH"

func setupNATS(ctx context.Context, w *world) ([]Contender, error) {
	var js [4]jetstream.JetStream // a connection each, for the client's asynchronous publishing keeps things on it
	if err := w.jetStreams(ctx, js[:], jetstream.WithPublishAsyncMaxPending(1<<20)); err != nil {
		return nil, err
	}
	if err := natsexec.EnsureStream(ctx, js[0], benchStream, nil); err != nil {
		return nil, err
	}
	stream, err := js[0].Stream(ctx, benchStream)
	if err != nil {
		return nil, err
	}
	exec, err := natsexec.New(ctx, js[0], benchStream, nil)
	if err != nil {
		return nil, err
	}
	var intents []core.Intent
	var messages []*nats.Msg
	prepare := func(n int) (err error) {
		if intents, err = makeIntents(n); err != nil {
			return err
		}
		messages = messages[:0]
		for i := range intents {
			m := nats.NewMsg(benchStream + ".job.default." + intents[i].Task)
			m.Data, m.Header = intents[i].Payload(), nats.Header{nats.MsgIdHdr: {intents[i].ID}}
			messages = append(messages, m)
		}
		return stream.Purge(ctx)
	}
	return []Contender{
		{Name: "loop of Publish", MaxSize: loopSize, Prepare: prepare, HandOver: func(int) error {
			for _, m := range messages {
				if _, err := js[1].PublishMsg(ctx, m); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "PublishMsgAsync", Prepare: prepare, HandOver: func(int) error { return publishAsync(ctx, js[2], messages) }},
		{Name: "airlock", Prepare: prepare, HandOver: func(int) error { return exec.Execute(ctx, intents...) }},
		{Name: "limit: the last one's ack alone", Reference: true, Prepare: prepare, HandOver: func(n int) error {
			conn := js[3].Conn()
			for _, m := range messages[:n-1] {
				if err := conn.PublishMsg(m); err != nil {
					return err
				}
			}
			_, err := js[3].PublishMsg(ctx, messages[n-1])
			return err
		}},
	}, nil
}

// jetStreams fills js with clients of one server, each on a connection of its own.
func (w *world) jetStreams(ctx context.Context, js []jetstream.JetStream, opts ...jetstream.JetStreamOpt) error {
	url, err := w.nats(ctx)
	if err != nil {
		return err
	}
	for i := range js {
		conn, err := nats.Connect(url)
		if err != nil {
			return err
		}
		w.Cleanup(conn.Close)
		if js[i], err = jetstream.New(conn, opts...); err != nil {
			return err
		}
	}
	return nil
}

// publishAsync waits for every acknowledgement, as a program must that wants to know what became of each message.
func publishAsync(ctx context.Context, js jetstream.JetStream, messages []*nats.Msg) error {
	futures := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		var err error
		if futures[i], err = js.PublishMsgAsync(m); err != nil {
			return err
		}
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
