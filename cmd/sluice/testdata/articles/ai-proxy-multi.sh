curl "http://127.0.0.1:9180/apisix/admin/routes" -X PUT \
  -H "X-API-KEY: ${ADMIN_API_KEY}" \
  -d '{
    "id": "ai-proxy-multi-route",
    "uri": "/anything",
    "methods": ["POST"],
    "plugins": {
      "ai-proxy-multi": {
          "balancer": {
            "algorithm": "roundrobin",
            "hash_on": "vars"
          },
          "fallback_strategy": "instance_health_and_rate_limiting",
          "instances": [
            {
              "auth": {
                "header": {
                  "Authorization": "Bearer {ALIYUN_API_KEY}"
                }
              },
              "name": "qwen2.5-32b-instruct-ali-bailian",
              "options": {
                "model": "qwen2.5-32b-instruct"
              },
              "override": {
                "
                ": "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions"
              },
              "priority": 1,
              "provider": "openai-compatible",
              "weight": 100
            },
            {
              "auth": {
                "header": {
                  "Authorization": "Bearer {CUSTOM_API_KEY}"
                }
              },
              "checks": {
                "active": {
                  "concurrency": 10,
                  "healthy": {
                    "http_statuses": [
                      200,
                      302
                    ],
                    "interval": 30,
                    "successes": 1
                  },
                  "host": "{CUSTOM_HOST_1}:{CUSTOM_PORT_1}",
                  "http_method": "POST",
                  "http_path": "/v1/chat/completions",
                  "http_req_body": "{\"model\":\"Qwen/Qwen2.5-32B-Instruct\",\"messages\":[{\"role\":\"user\",\"content\":\"0\"}],\"stream\":false,\"max_tokens\":1}",
                  "https_verify_certificate": false,
                  "req_headers": [
                    "Content-Type: application/json"
                  ],
                  "request_body": "",
                  "timeout": 2,
                  "type": "http",
                  "unhealthy": {
                    "http_failures": 1,
                    "http_statuses": [
                      404,
                      429,
                      500,
                      501,
                      502,
                      503,
                      504,
                      505
                    ],
                    "interval": 30,
                    "tcp_failures": 2,
                    "timeouts": 2
                  }
                }
              },
              "name": "qwen2.5-32b-instruct-b",
              "options": {
                "model": "Qwen/Qwen2.5-32B-Instruct"
              },
              "override": {
                "endpoint": "http://{CUSTOM_HOST_1}:{CUSTOM_PORT_1}/v1/chat/completions"
              },
              "priority": 5,
              "provider": "openai-compatible",
              "weight": 100
            },
            {
              "auth": {
                "header": {
                  "Authorization": "Bearer {NLB_API_KEY}"
                }
              },
              "checks": {
                "active": {
                  "concurrency": 10,
                  "healthy": {
                    "http_statuses": [
                      200,
                      302
                    ],
                    "interval": 30,
                    "successes": 1
                  },
                  "host": "{CUSTOM_NLB_HOST}:{CUSTOM_NLB_PORT}",
                  "http_method": "POST",
                  "http_path": "/v1/chat/completions",
                  "http_req_body": "{\"model\":\"Qwen/Qwen2.5-32B-Instruct\",\"messages\":[{\"role\":\"user\",\"content\":\"0\"}],\"stream\":false,\"max_tokens\":1}",
                  "https_verify_certificate": false,
                  "req_headers": [
                    "Content-Type: application/json"
                  ],
                  "request_body": "",
                  "timeout": 3,
                  "type": "http",
                  "unhealthy": {
                    "http_failures": 2,
                    "http_statuses": [
                      404,
                      429,
                      500,
                      501,
                      502,
                      503,
                      504,
                      505
                    ],
                    "interval": 30,
                    "tcp_failures": 2,
                    "timeouts": 3
                  }
                }
              },
              "name": "qwen2.5-32b-instruct-c",
              "options": {
                "model": "Qwen/Qwen2.5-32B-Instruct"
              },
              "override": {
                "endpoint": "http://{CUSTOM_NLB_HOST}:{CUSTOM_NLB_PORT}/v1/chat/completions"
              },
              "priority": 10,
              "provider": "openai-compatible",
              "weight": 100
            }
          ],
          "keepalive": true,
          "keepalive_pool": 30,
          "keepalive_timeout": 4000,
          "ssl_verify": false,
          "timeout": 600000
        }
