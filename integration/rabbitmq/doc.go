// Package rabbitmq tests the executor and the worker for RabbitMQ with real servers.
package rabbitmq
