"""The weights of CAM++ (3D-Speaker), as ``voice_embedding`` finds them."""
