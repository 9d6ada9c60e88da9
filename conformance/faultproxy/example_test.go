package faultproxy_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/goairlock/airlock/conformance/faultproxy"
)

// A reply is lost: the client knows nothing, the witness knows that the server answered.
func Example() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()

	proxy, err := faultproxy.New(server.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer proxy.Close()

	client, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	// The same operation once before the fault.
	reply := make([]byte, 4)
	_, _ = client.Write([]byte("ping"))
	_, err = io.ReadFull(client, reply)
	fmt.Printf("warm: %s, %v\n", reply, err)

	proxy.LoseReplies()
	_, _ = client.Write([]byte("ping"))
	_ = proxy.WaitFor(context.Background(), func(s faultproxy.Stats) bool { return s.LostReplyBytes == 4 })
	proxy.Reset() // otherwise the client waits for its timeout
	_, err = io.ReadFull(client, reply)
	fmt.Println("failed:", err != nil)
	fmt.Println("request bytes passed:", proxy.Stats().RequestBytes)

	// Output:
	// warm: ping, <nil>
	// failed: true
	// request bytes passed: 8
}
