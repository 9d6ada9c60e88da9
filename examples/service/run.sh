#!/usr/bin/env bash
# Runs the API and a worker until Ctrl-C, and places one order.
#
#   ./run.sh [asynq|river|nats|work|rabbitmq]
#
# Without DATABASE_URL it starts a PostgreSQL of its own, and without QUEUE_URL a Redis
# or a NATS, from what is installed here (nats-server is built by go). A RabbitMQ must
# be given with QUEUE_URL. Everything that it starts ends with it, and so do the data.
set -euo pipefail
cd "$(dirname "$0")"
queue=${1:-river}
dir=$(mktemp -d)
pids=()
stop() {
	local status=$?
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null || continue
		wait "${pids[i]}" || true
	done
	rm -rf "$dir"
	exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

if [ -z "${DATABASE_URL:-}" ]; then
	bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
	[ -n "$bin" ] || bin=$(dirname "$(readlink -f "$(command -v initdb)")")
	as=()
	if [ "$(id -u)" = 0 ]; then # PostgreSQL does not run as root
		as=(runuser -u postgres --)
		chown postgres "$dir"
	fi
	port=${PGPORT:-55432}
	"${as[@]}" "$bin/initdb" -D "$dir/pg" -U postgres -A trust --no-sync >/dev/null
	"${as[@]}" "$bin/postgres" -D "$dir/pg" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= 2>"$dir/pg.log" &
	pids+=($!)
	until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"; do
		kill -0 "${pids[-1]}" 2>/dev/null || { cat "$dir/pg.log"; exit 1; }
		sleep 0.1
	done
	export DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
fi

if [ -z "${QUEUE_URL:-}" ]; then
	case $queue in
	asynq | work)
		redis-server --port 56379 --bind 127.0.0.1 --dir "$dir" --appendonly yes --appendfsync always >"$dir/redis.log" &
		pids+=($!)
		until redis-cli -p 56379 ping >/dev/null 2>&1; do sleep 0.1; done
		export QUEUE_URL=redis://127.0.0.1:56379
		;;
	nats)
		GOBIN=$dir go install github.com/nats-io/nats-server/v2@v2.15.2
		"$dir/nats-server" -a 127.0.0.1 -p 54222 -js -sd "$dir/nats" 2>"$dir/nats.log" &
		pids+=($!)
		until grep -q 'Server is ready' "$dir/nats.log"; do sleep 0.1; done
		export QUEUE_URL=nats://127.0.0.1:54222
		;;
	rabbitmq)
		echo "set QUEUE_URL, such as amqp://guest:guest@127.0.0.1:5672/" >&2
		exit 2
		;;
	esac
fi

go build -o "$dir/" ./api ./worker
"$dir/api" -queue "$queue" &
pids+=($!)
"$dir/worker" -queue "$queue" &
pids+=($!)
alive() { kill -0 "${pids[-1]}" && kill -0 "${pids[-2]}"; }
until curl -fsS -o /dev/null http://127.0.0.1:8080/readyz 2>/dev/null; do alive || exit 1; sleep 0.1; done
curl -sS -d '{"email":"someone@example.com","cents":4200}' http://127.0.0.1:8080/orders | tee "$dir/order"
id=$(sed 's/.*"id":"\([A-Z0-9]*\)".*/\1/' "$dir/order")
until curl -sS "http://127.0.0.1:8080/orders/$id" | grep -q '"receipts":1'; do alive || exit 1; sleep 0.2; done
curl -sS "http://127.0.0.1:8080/orders/$id"
if [ -n "${ONCE:-}" ]; then exit 0; fi
echo "the API is at http://127.0.0.1:8080 and the worker's health at http://127.0.0.1:8081; Ctrl-C ends both"
wait
