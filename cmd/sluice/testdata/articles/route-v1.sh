curl -i http://127.0.0.1:9180/apisix/admin/routes/test-v1 \
  -X PUT \
  -H "X-API-KEY: YOUR_ADMIN_KEY_HERE" \
  -d '{
    "uri": "/test/v1",
    "upstream": {
      "type": "roundrobin",
      "nodes": {"api.aimlapi.com:443": 1},
      "scheme": "https",
      "pass_host": "node"
    }
  }'
