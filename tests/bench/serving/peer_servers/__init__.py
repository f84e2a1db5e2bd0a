"""The peers' servers, as their documentation shows them: each runs in a virtual environment of its own.

python fastapi_server.py MODEL.onnx PORT GRPC_PORT
"""
