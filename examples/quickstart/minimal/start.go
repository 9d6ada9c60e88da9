// Minimal is the program that the README shows, with a Redis inside the process.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func main() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	fmt.Println("order A-1:", serve(ctx, rdb, "A-1", "good"))
	fmt.Println("order A-2:", serve(ctx, rdb, "A-2", "declined"))
	if err := work(ctx, rdb); err != nil {
		log.Fatal(err)
	}
}
